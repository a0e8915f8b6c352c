"""Where settings come from: environment names, `.env`, NAME_FILE, and how a wrong one is told."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from imagegen.errors import InvalidRequest, Problem
from imagegen.settings_values import BadValue, nearest

log = logging.getLogger("imagegen.settings")

OWN_NAMES = ("nano_banana_", "gemini_", "fal_", "replicate_", "kie_", "use_real_image")
FROM_FILE = ("_URL", "_KEY", "_TOKEN", "_SECRET")
FILE_SOURCE = "file "
KEYS = {
    "nanobanana": "nano_banana_api_key",
    "gemini": "gemini_api_key",
    "fal": "fal_key",
    "replicate": "replicate_api_token",
    "kie": "kie_api_key",
}
URLS = {
    "nanobanana": ("nano_banana_api_url",),
    "gemini": ("gemini_api_url",),
    "fal": ("fal_queue_url", "fal_api_url"),
    "replicate": ("replicate_api_url",),
    "kie": ("kie_api_url",),
}
KEY_SETS = {"gemini": ("gemini_jwks_url",), "fal": ("fal_jwks_url",)}
"""Where providers' public keys are, with which their callbacks are checked."""


def env_name(field: str) -> str:
    """The environment variable of a field: `home` -> `IMAGEGEN_HOME`, `fal_key` -> `FAL_KEY`."""
    return field.upper() if field.startswith(OWN_NAMES) else f"IMAGEGEN_{field.upper()}"


def warn_unknown(fields: Iterable[str], *layers: Mapping[str, str]) -> None:
    """Log each `IMAGEGEN_*` name that is no setting, with its nearest match."""
    known = [env_name(field) for field in fields]
    allowed = {*known, *(f"{name}_FILE" for name in known if name.endswith(FROM_FILE))}
    unknown = {name for layer in layers for name in layer if name.startswith("IMAGEGEN_")} - allowed
    for name in sorted(unknown):
        guess = nearest(name, known)
        log.warning("%s is no setting%s", name, f"; did you mean {guess}?" if guess else "")


def collect(
    fields: Iterable[str], environ: Mapping[str, str], dotenv: Mapping[str, str], cwd: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """Texts and sources by field. An empty text means "not set", and in the environment it hides `.env`'s."""
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    for field in fields:
        name = env_name(field)
        for layer, source in ((environ, "environment"), (dotenv, ".env")):
            from_file = f"{name}_FILE"
            text = layer.get(name, "").strip()
            if not text and name.endswith(FROM_FILE) and layer.get(from_file):
                path = (cwd / layer[from_file]).absolute()
                text, source = read_file(from_file, path), f"{FILE_SOURCE}{path}"
            elif name not in layer:
                continue
            if text:
                values[field], sources[field] = text, source
            break
    return values, sources


def read_file(name: str, path: Path) -> str:
    """The text of a NAME_FILE, stripped. Raises `InvalidRequest` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest.of(name, f"cannot read {path}: {error}", "Name a readable text file.") from None


def problem(detail: Any) -> Problem:
    """A pydantic error as ours; the input is left out, for it may be a secret."""
    cause = detail.get("ctx", {}).get("error")
    name = env_name(str(detail["loc"][0]))
    if isinstance(cause, BadValue):
        return {"field": name, "reason": cause.reason, "remedy": cause.remedy}
    return {"field": name, "reason": str(detail["msg"]), "remedy": "Correct or unset it."}
