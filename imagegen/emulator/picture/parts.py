"""A prompt taken apart: who, where, in what style and colours. The templates' own layout is known, none is needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_LABEL = re.compile(r"^(style|colou?r palette|palette|avoid|negative(?: prompt)?)\s*:\s*(.*)$", re.IGNORECASE)
_STAGED = re.compile(r"\b(Pose|Expression|Setting): ")
_NAMED = re.compile(
    r"^([A-Z][\w'\u2019.-]*(?: (?:the |of |de |von |van )?[A-Z0-9][\w'\u2019.-]*){0,3})\s*(?:[:,—]|\bis\b|\bthe\b)"
)
_CALLED = re.compile(r"\b(?:named|called|[Cc]haracter:|[Nn]ame:)\s+([A-Z][\w'\u2019-]*(?: [A-Z][\w'\u2019-]*){0,2})")
_NOT_NAMES = frozenset(
    {"a", "an", "the", "pose", "expression", "setting", "keep", "scene", "character", "name", "in", "on", "at", "with"}
)
_FIELD = re.compile(r"^\s*([a-z][\w -]{0,20}):\s*(.+)$", re.IGNORECASE | re.DOTALL)
_CODE = re.compile(r"\s*#(?:[0-9a-f]{6}|[0-9a-f]{3})\b", re.IGNORECASE)


@dataclass(frozen=True)
class Parts:
    """`look` is what is said of the character, `fields` its named parts and the staging, `place` all the rest."""

    name: str | None
    wanted: str
    look: str
    place: str
    style: str
    palette: str
    fields: Mapping[str, str]

    @property
    def caption(self) -> str:
        """The words for the card: from the line with the name on, without the name and the colours' codes."""
        lines = self.wanted.splitlines()
        name = self.name
        start = next((row for row, line in enumerate(lines) if name and line.startswith(name)), 0)
        text = " ".join(line if line.endswith((".", "!", "?", ",", ";", ":")) else f"{line}." for line in lines[start:])
        if name and text.startswith(name) and not text[len(name) :].startswith(" is "):
            text = text[len(name) :].lstrip(" :,—-")
        text = _CODE.sub("", text) or text
        return text[:1].upper() + text[1:]


def take_apart(prompt: str) -> Parts:
    """The parts of a prompt; what is to be avoided is in none of them."""
    wanted, style, palette = _sections(prompt)
    name = _name(wanted)
    look, place, fields = _staging(wanted, name)
    return Parts(name, wanted, look, place, style, palette, fields)


def tokens(text: str) -> frozenset[str]:
    """The words of a text in lower case, hyphened ones whole and in parts."""
    words = re.findall(r"[a-z0-9][a-z0-9'-]*", text.lower().replace("\u2019", "'"))
    parts = {part for word in words for part in re.split(r"[-']", word) if part}
    return frozenset(words) | parts


def _sections(prompt: str) -> tuple[str, str, str]:
    wanted: list[str] = []
    style: list[str] = []
    palette: list[str] = []
    for line in prompt.splitlines():
        match = _LABEL.match(line.strip())
        if match is None:
            wanted.append(line.strip())
        elif "palette" in match[1].lower():
            palette.append(match[2])
        elif match[1].lower() == "style":
            style.append(match[2])
    return "\n".join(line for line in wanted if line), " ".join(style), " ".join(palette)


def _staging(wanted: str, name: str | None) -> tuple[str, str, dict[str, str]]:
    look: list[str] = []
    place: list[str] = []
    fields: dict[str, str] = {}
    for line in wanted.splitlines():
        staged = _STAGED.split(line)
        for label, words in zip(staged[1::2], staged[2::2], strict=True):
            fields[label.lower()] = words
        mine = name is not None and staged[0].startswith(name) and not look
        (look if mine else place).append(staged[0])
    for clause in " ".join(look).split(";")[1:]:
        match = _FIELD.match(clause)
        if match:
            fields.setdefault(match[1].strip().lower(), match[2].strip(" ."))
    return " ".join(look), " ".join([*place, fields.get("setting", "")]), fields


def _name(wanted: str) -> str | None:
    called = _CALLED.search(wanted)
    if called:
        return called[1]
    for line in wanted.splitlines():
        match = _NAMED.match(line)
        if match and match[1].split()[0].lower() not in _NOT_NAMES and len(match[1]) <= 32:
            return match[1]
    return None
