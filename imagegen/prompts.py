"""From a character brief, a style capsule and a scene to the prompt that is sent, by templates that are data.

A template is a text file: `{name}` stands for a value, `{{` and `}}` for braces, a line that begins with `#` is a
comment, and a line whose values are all empty is left out. Nothing in it is ever executed, and a value is put in
as it is: braces in a user's words mean nothing. The values:

    character   the brief's lasting look, the same words in every job: `Mara: a detective; outfit: grey coat.`
    scene       the prompt in the user's words, then pose, expression and setting
    references  what the pictures sent along are for
    style       the capsule's modifiers, or its name where it says nothing else
    palette     the capsule's colours
    avoid       what the capsule wants kept out
    name        the character's name

`master_asset`, `start_frame`, `end_frame` and `inpaint` are used for jobs of that type; `plain` for those without a
character, `inpaint` apart. A folder of one's own (IMAGEGEN_TEMPLATES) overrides them by file name, `plain.txt`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from imagegen.contracts import Character, ImageRequest, JobType, Style
from imagegen.errors import InvalidRequest
from imagegen.fingerprint import digest

PLAIN = "plain"
NAMES = (*(kind.value for kind in JobType), PLAIN)
VALUES = ("character", "scene", "references", "style", "palette", "avoid", "name")
_NEEDED = {name: ("scene",) if name == PLAIN else ("character", "scene") for name in NAMES}
_STAGING = ("pose", "expression", "setting")
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}\n]*)\}|[{}]")


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The user's own words, the words that are sent, and the style that shaped them (digest of its JSON)."""

    user_words: str
    sent_prompt: str
    style_name: str | None = None
    style_sha256: str | None = None


@dataclass(frozen=True)
class Template:
    """A parsed template. Each line is a list of pieces: plain text, or the name of a value in a 1-tuple."""

    source: str
    lines: tuple[tuple[str | tuple[str], ...], ...]

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with its values; lines without any of theirs are left out, and no two blank lines follow."""
        kept: list[str] = []
        for line in self.lines:
            named = [piece[0] for piece in line if isinstance(piece, tuple)]
            if named and not any(values[name] for name in named):
                continue
            text = "".join(values[piece[0]] if isinstance(piece, tuple) else piece for piece in line)
            if text.strip() or (kept and kept[-1]):
                kept.append(text if named else text.rstrip())
        return "\n".join(kept).strip()


def parse_template(text: str, *, name: str, source: str) -> Template:
    """The template called `name`, read from file `source`.

    Raises `InvalidRequest` naming the file, the line and what is wrong there: an unknown value, a lonely brace, or a
    template that would drop the user's words.
    """
    rows = [(number, line) for number, line in enumerate(text.splitlines(), 1) if not line.startswith("#")]
    template = Template(source, tuple(_pieces(line, f"{source}:{number}") for number, line in rows))
    used = {piece[0] for line in template.lines for piece in line if isinstance(piece, tuple)}
    for needed in _NEEDED[name]:
        if needed not in used:
            raise InvalidRequest.of(
                source, f"has no {{{needed}}}", "Put it in: without it, what the user asked for would not be sent."
            )
    return template


def _pieces(line: str, where: str) -> tuple[str | tuple[str], ...]:
    pieces: list[str | tuple[str]] = []
    end = 0
    for found in _TOKEN.finditer(line):
        pieces.append(line[end : found.start()])
        end = found.end()
        token, value = found.group(), found.group(1)
        if token in ("{{", "}}"):
            pieces.append(token[0])
        elif value is None:
            raise InvalidRequest.of(where, f"has a lonely {token}", f"Write {token * 2} for a brace of your own.")
        elif value not in VALUES:
            known = ", ".join(f"{{{name}}}" for name in VALUES)
            raise InvalidRequest.of(where, f"{{{value}}} is not a value of a template", f"Use {known}.")
        else:
            pieces.append((value,))
    pieces.append(line[end:])
    return tuple(piece for piece in pieces if piece)


@cache
def _shipped() -> Mapping[str, Template]:
    folder = files("imagegen") / "templates"
    return {
        name: parse_template((folder / f"{name}.txt").read_text("utf-8"), name=name, source=f"{name}.txt")
        for name in NAMES
    }


def load_templates(folder: str | Path | None) -> Mapping[str, Template]:
    """Every template by name, those in `folder` before the ones that ship.

    Raises `InvalidRequest` for a folder or file that cannot be read, a wrong template, and a `.txt` file whose name
    is no template's (it would be ignored).
    """
    if folder is None:
        return _shipped()
    root = Path(folder)
    if not root.is_dir():
        raise InvalidRequest.of("IMAGEGEN_TEMPLATES", f"{root} is no folder", "Name the folder of your templates.")
    own: dict[str, Template] = {}
    for path in sorted(root.glob("*.txt")):
        if path.stem not in NAMES:
            allowed = ", ".join(f"{name}.txt" for name in NAMES)
            raise InvalidRequest.of(str(path), "overrides no template", f"Call it one of {allowed}.")
        try:
            own[path.stem] = parse_template(path.read_text("utf-8"), name=path.stem, source=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest.of(str(path), f"cannot be read ({error})", "Make it a readable UTF-8 file.") from error
    return {**_shipped(), **own}


def template_for(request: ImageRequest) -> str:
    """The name of the template a request is rendered by."""
    if request.character is None and request.job_type is not JobType.INPAINT:
        return PLAIN
    return request.job_type.value


def render(
    request: ImageRequest,
    style: Style | None,
    templates: Mapping[str, Template],
    *,
    references: int = 0,
    style_references: int = 0,
) -> Rendered:
    """The prompt to send for a request. Pure: the same request and style give the same words.

    `references` and `style_references` count the pictures sent along, the style's own last; `style` is the capsule
    that applies, inline or stored.
    """
    character = request.character
    values = {
        "character": character_block(character) if character else "",
        "scene": _scene(request),
        "references": _references(character, references, style_references),
        "name": character.name if character else "",
        **_style_values(style),
    }
    return Rendered(
        user_words=request.prompt or (summary(character) if character else ""),
        sent_prompt=templates[template_for(request)].fill(values),
        style_name=style.name if style else None,
        style_sha256=style_sha256(style) if style else None,
    )


def check_length(request: ImageRequest, sent_prompt: str, *, limit: int, model: str) -> None:
    """Raises `InvalidRequest` naming `prompt`, or `character` where there is no prompt, and both numbers."""
    if len(sent_prompt) <= limit:
        return
    field = "prompt" if request.prompt else "character"
    over = len(sent_prompt) - limit
    raise InvalidRequest.of(
        field,
        f"makes a prompt of {len(sent_prompt)} characters with its style and template, while {model} takes {limit}",
        f"Shorten it, or its style, by {over}.",
    )


def style_sha256(style: Style) -> str:
    """Digest of a capsule's canonical JSON: the same for the same content, whatever the order of its keys."""
    return digest(style.model_dump(mode="json", by_alias=True))


def character_block(character: Character) -> str:
    """The lasting look in one sentence, keys of one's own in the order of the alphabet.

    Pose, expression and setting belong to the scene, so that the words of the look stay the same from frame to frame.
    """
    return _sentence(_brief(character, {"outfit": character.outfit, **_own_keys(character)}))


def summary(character: Character) -> str:
    """The whole brief in one readable line, for a job that has no prompt of its own."""
    named = {name: getattr(character, name) for name in ("pose", "expression", "outfit", "setting")}
    return _brief(character, {**named, **_own_keys(character)})


def _brief(character: Character, details: Mapping[str, str]) -> str:
    look = _trimmed(character.description)
    head = f"{_line(character.name)}: {look}" if look else _line(character.name)
    return "; ".join([head, *(f"{key}: {_trimmed(value)}" for key, value in details.items() if _trimmed(value))])


def _own_keys(character: Character) -> dict[str, str]:
    extra = character.model_extra or {}
    return {_line(key): _words(extra[key]) for key in sorted(extra)}


def _scene(request: ImageRequest) -> str:
    character = request.character
    staged = [
        f"{name.capitalize()}: {_sentence(getattr(character, name))}"
        for name in _STAGING
        if character is not None and _trimmed(getattr(character, name))
    ]
    return "\n".join(part for part in (request.prompt or "", " ".join(staged)) if part)


def _references(character: Character | None, references: int, style_references: int) -> str:
    said = []
    if character is not None and references:
        which = "the reference image" if references == 1 else "the reference images"
        said.append(f"Keep {_line(character.name)} looking exactly as in {which}.")
    if style_references:
        which = "the last image" if style_references == 1 else f"the last {style_references} images"
        said.append(f"Take only the visual style from {which}, not what is shown there.")
    return " ".join(said)


def _style_values(style: Style | None) -> dict[str, str]:
    if style is None:
        return {"style": "", "palette": "", "avoid": ""}
    modifiers, palette = _listed(style.modifiers), _listed(style.palette)
    # A name is often a mere label; it speaks where nothing else in the capsule does.
    speaks = modifiers or palette or style.references
    return {"style": modifiers if speaks else _trimmed(style.name), "palette": palette, "avoid": _listed(style.avoid)}


def _listed(words: list[str]) -> str:
    return ", ".join(trimmed for word in words if (trimmed := _trimmed(word)))


def _words(value: Any) -> str:
    """A JSON value as a person would write it; empty ones are the empty string."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{_line(str(key))}: {words}" for key in sorted(value) if (words := _words(value[key])))
    if isinstance(value, list | tuple):
        return ", ".join(words for item in value if (words := _words(item)))
    return _trimmed(str(value))


def _line(text: str) -> str:
    return " ".join(text.split())


def _trimmed(text: str) -> str:
    """One line without the stops at its end that would double with ours."""
    line = _line(text)
    return line if line.endswith("...") else line.rstrip(" .,;")


def _sentence(text: str) -> str:
    trimmed = _trimmed(text)
    return trimmed if trimmed.endswith(("!", "?", "…", "...")) else f"{trimmed}."
