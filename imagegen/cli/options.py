"""Options that are request fields, and the kinds of values they take."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from imagegen.contracts import Format, JobType, Priority, rfc3339
from imagegen.errors import BY_CODE, InvalidRequest
from imagegen.inputs import Kind, kind_of
from imagegen.settings_values import PROVIDERS, BadValue, parse_duration

Command = TypeVar("Command", bound=Callable[..., Any])
DATA_SUFFIXES = {".json", ".yaml", ".yml"}


def duration(text: str) -> int:
    """`90`, `90s`, `10m`, `1h`, `30d` to whole seconds."""
    try:
        return int(parse_duration(text))
    except BadValue as error:
        raise click.BadParameter(str(error)) from None


def moment(text: str) -> datetime | timedelta:
    """An RFC 3339 time, or a duration which the command counts from now (or back from it)."""
    try:
        return timedelta(seconds=int(parse_duration(text)))
    except BadValue:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a duration (10m) nor a time (2026-12-01T09:00:00Z)") from None
    if found.tzinfo is None:
        raise click.BadParameter(f"{text!r} has no time zone; write it as 2026-12-01T09:00:00Z")
    return found


def pair(text: str) -> tuple[str, Any]:
    """`KEY=VALUE`; a value that is JSON is taken as such, any other as text."""
    key, mark, value = text.partition("=")
    if not mark or not key:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


code_of_failure = click.option(
    "--code",
    type=click.Choice(sorted(BY_CODE)),
    # All of them in a line of its own would be wider than any terminal.
    metavar="CODE",
    help="Error code of failed jobs, such as TEMPORARY; see docs/errors.md.",
)

_CHOICE = click.Choice
# In the order of the contract; `help` shows them like this.
REQUEST_OPTIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("--job-type", "jobType", {"type": _CHOICE([one.value for one in JobType]), "help": "What the picture is for."}),
    ("--project", "projectId", {"help": "Project (default: default)."}),
    ("--branch", "branchId", {"help": "Branch (default: main)."}),
    ("--scene", "sceneId", {"help": "Scene of a frame."}),
    ("--shot", "shotId", {"help": "Shot of a frame."}),
    ("--asset", "assetId", {"help": "Name of the asset (default: made from the character's name)."}),
    ("--character", "character", {"help": "Character brief: a YAML or JSON file, inline JSON, or just a name."}),
    ("--style", "style", {"help": "Style capsule: a YAML or JSON file, inline JSON, or the id of a stored one."}),
    ("--width", "width", {"type": int, "help": "Pixels; together with --height."}),
    ("--height", "height", {"type": int, "help": "Pixels; together with --width."}),
    ("--format", "format", {"type": _CHOICE([one.value for one in Format]), "help": "File format (default: png)."}),
    ("--model", "model", {"help": "Model; see `imagegen providers`."}),
    ("--provider", "provider", {"type": _CHOICE(PROVIDERS), "help": "Provider to buy from."}),
    ("--seed", "seed", {"type": int, "help": "For models that take one."}),
    (
        "--reference",
        "referenceImages",
        {"multiple": True, "help": "URL, s3://, job:ID, input:SHA256 or local file; repeatable."},
    ),
    ("--source-image", "sourceImage", {"help": "Picture to edit (inpaint)."}),
    ("--mask", "mask", {"help": "What to change in it (inpaint)."}),
    ("--priority", "priority", {"type": _CHOICE([one.value for one in Priority]), "help": "Default: normal."}),
    ("--at", "scheduledAt", {"type": moment, "help": "Not before: an RFC 3339 time, or a duration from now."}),
    ("--deadline", "deadlineSeconds", {"type": duration, "help": "Give up after, such as 10m."}),
    ("--idempotency-key", "idempotencyKey", {"help": "The same key and request name the same job."}),
    ("--max-paid-attempts", "maxPaidAttempts", {"type": int, "help": "Paid submissions at most."}),
    ("--fresh", "fresh", {"is_flag": True, "default": None, "help": "Buy a new picture although one is cached."}),
    ("--placeholder", "placeholder", {"type": _CHOICE(["never", "on_failure"]), "help": "Default: never."}),
    (
        "--on-budget",
        "onBudget",
        {
            "type": _CHOICE(["fail", "cheaper"]),
            "help": "With cheaper, a cheaper model that serves is used where a budget has no room. Default: fail.",
        },
    ),
    ("--callback-url", "callbackUrl", {"help": "Told when the job has ended."}),
    ("--owner", "owner", {"help": "Whose job it is (default: default)."}),
    ("--metadata", "metadata", {"type": pair, "multiple": True, "help": "KEY=VALUE of your own; repeatable."}),
)


def request_options(command: Command) -> Command:
    """Every request field as an option, in kebab case; the parameters carry the fields' camelCase names."""
    for flag, field, settings in reversed(REQUEST_OPTIONS):
        command = click.option(flag, field, **settings)(command)
    return command


def request_body(prompt: str | None, given: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The JSON object of a request from the options that were given. Raises `InvalidRequest`."""
    body = {field: value for field, value in given.items() if value is not None and value != ()}
    if prompt is not None:
        body["prompt"] = prompt
    if "scheduledAt" in body:
        body["scheduledAt"] = rfc3339(moment_after(body["scheduledAt"], now))
    if "metadata" in body:
        body["metadata"] = dict(body["metadata"])
    if "character" in body:
        body["character"] = _character(body["character"])
    if "style" in body:
        body |= _style(body.pop("style"))
    return body


def moment_after(value: datetime | timedelta, now: datetime) -> datetime:
    """A time as it is, a duration counted from now."""
    return now + value if isinstance(value, timedelta) else value


def moment_before(value: datetime | timedelta, now: datetime) -> datetime:
    """A time as it is, a duration counted back from now."""
    return now - value if isinstance(value, timedelta) else value


def load_data(path: Path, field: str) -> dict[str, Any]:
    """The object in a JSON or YAML file; raises `InvalidRequest` naming `field`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidRequest.of(field, f"cannot read {path} ({why})", "Name a readable text file.") from error
    return parse_data(text, field, str(path))


def parse_data(text: str, field: str, name: str) -> dict[str, Any]:
    """The object in JSON or YAML text (JSON is YAML); raises `InvalidRequest` naming `field`."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise InvalidRequest.of(field, f"{name} is neither JSON nor YAML ({where})", "Correct it there.") from error
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise InvalidRequest.of(field, f"{name} holds no object", "Write fields with their values, `name: …`.")
    return data


def _character(text: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        return parse_data(text, "--character", "the inline brief")
    if _means_file(text):
        return load_data(Path(text).expanduser(), "--character")
    return {"name": text}


def _style(text: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        return {"style": parse_data(text, "--style", "the inline capsule")}
    if _means_file(text):
        path = Path(text).expanduser()
        return {"style": with_paths_below(path.parent, load_data(path, "--style"))}
    return {"visualStyleCapsuleId": text}


def _means_file(text: str) -> bool:
    return "/" in text or Path(text).suffix.lower() in DATA_SUFFIXES or Path(text).is_file()


_IMAGE_LISTS, _IMAGES = ("referenceImages", "references"), ("sourceImage", "mask")


def with_paths_below(folder: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """The object with the local pictures it names taken as lying beside its file, however deep they stand in it."""

    def placed(ref: Any, field: str) -> Any:
        if not isinstance(ref, str) or not ref.strip() or kind_of(ref.strip(), field, "cli") is not Kind.PATH:
            return ref
        return str((folder / Path(ref.strip()).expanduser()).absolute())

    def walk(key: str, value: Any) -> Any:
        if key in _IMAGES:
            return placed(value, key)
        if key in _IMAGE_LISTS and isinstance(value, list):
            return [placed(ref, f"{key}.{at}") for at, ref in enumerate(value)]
        if key == "style" and isinstance(value, Mapping):
            return with_paths_below(folder, value)
        if key == "requests" and isinstance(value, list):
            return [with_paths_below(folder, one) if isinstance(one, Mapping) else one for one in value]
        return value

    return {key: walk(key, value) for key, value in data.items()}
