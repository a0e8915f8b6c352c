"""From a JSON object to a model, and from pydantic's findings to words that whoever sent it understands.

Each finding names the field, what is wrong with it, and what would be right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from imagegen.bounds import check_depth
from imagegen.errors import InvalidRequest, Problem

Model = TypeVar("Model", bound=BaseModel)
ADDRESS = r"^https?://"
"""The pattern of an address, in models."""
A_DATE = "2026-12-01T09:00:00Z"
_SAID = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
# All below: by the beginning of pydantic's error type, the first that fits; gaps are filled from the error's context.
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "bool": "true or false",
    "list": "a list",
    "dict": "an object",
    "model": "an object",
    "datetime_type": "a time",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
    "uuid": "a UUID",
}
"""What was expected where something of another kind came."""
_REASONS = {
    "extra_forbidden": "is not a field of this request",
    "missing": "is missing",
    "int_from_float": "is no whole number",
    "greater_than_equal": "is less than {ge}",
    "greater_than": "is not more than {gt}",
    "less_than_equal": "is more than {le}",
    "less_than": "is not less than {lt}",
    "enum": "is none of the known words",
    "literal_error": "is none of the known words",
    "string_unicode": "holds half a surrogate pair",
    "string_too_short": "has fewer than {min_length} characters",
    "string_too_long": "has more than {max_length} characters",
    "string_pattern": "does not look as it must",
    "too_long": "has {actual_length} entries",
    "too_short": "has {actual_length} entries",
    "datetime_parsing": "is no date and time",
    "datetime_from_date": "is no date and time",
    "timezone_aware": "has no time zone",
}
_REMEDIES = {
    "extra_forbidden": "Remove it, or correct its spelling.",
    "missing": "Send it.",
    "greater_than_equal": "Send {ge} or more.",
    "greater_than": "Send more than {gt}.",
    "less_than_equal": "Send {le} or less.",
    "less_than": "Send less than {lt}.",
    "enum": "Send one of {expected}.",
    "literal_error": "Send one of {expected}.",
    "string_too_short": "Send {min_length} or more characters.",
    "string_too_long": "Send {max_length} characters at most.",
    "string_pattern": "Send text that matches {pattern}.",
    "string_unicode": "Send plain Unicode text.",
    "string": "Send text.",
    "too_long": "Send {max_length} at most.",
    "too_short": "Send {min_length} at least.",
    "int": "Send a whole number.",
    "bool": "Send true or false.",
    "list": "Send a list, in square brackets.",
    "dict": "Send an object, in curly brackets.",
    "model": "Send an object, in curly brackets.",
    "datetime": f"Write it as RFC 3339, for example {A_DATE}.",
    "timezone": f"Write it as RFC 3339, for example {A_DATE}.",
    "decimal_max_places": "Send {decimal_places} decimals at most.",
    "decimal": "Send a number.",
    "uuid": "Send an id as it was given to you.",
}
_OBJECTS = {
    "Character": 'Give an object with a name, e.g. {"name": "Ada"}.',
    "Style": 'Give an object with a name, e.g. {"name": "Noir", "modifiers": ["film grain"]}; a stored style is named '
    "by visualStyleCapsuleId.",
    "NotifyTask": 'Give an object, e.g. {"name": "shop.picture_done", "queue": "shop"}.',
    "requests": 'Give each as an object, e.g. {"prompt": "a red fox"}.',
    "metadata": 'Give an object of your own, e.g. {"order": 7}.',
}
"""Where an object is expected: by the name of its model, or of the field."""


def parse_as(model: type[Model], body: Mapping[str, Any]) -> Model:
    """The model of a JSON object; raises `InvalidRequest` that names every wrong field."""
    if not isinstance(body, Mapping):
        raise InvalidRequest.of("request", f"is {_said(body)}, not an object", "Send a JSON object.")
    check_depth(body)
    try:
        return model.model_validate(dict(body))
    except ValidationError as error:
        raise InvalidRequest.from_problems([problem_of(dict(one)) for one in error.errors()]) from error


def problem_of(error: Mapping[str, Any]) -> Problem:
    """A finding of pydantic's in our three words."""
    path = [str(part) for part in error["loc"] if not str(part).startswith("function-after")]
    return {"field": ".".join(path) or "request", "reason": _reason(error), "remedy": _remedy(error, path)}


def _reason(error: Mapping[str, Any]) -> str:
    kind, given, context = str(error["type"]), error.get("input"), error.get("ctx", {})
    if kind == "string_too_short" and context["min_length"] == 1:
        return "is empty"
    expected = _first(_EXPECTED, kind)
    if expected is not None or (given is None and kind != "missing"):
        return f"is {_said(given)}" + (f", not {expected}" if expected else "")
    told = _first(_REASONS, kind)
    return str(error["msg"]).removeprefix("Value error, ") if told is None else told.format_map(context)


def _remedy(error: Mapping[str, Any], path: list[str]) -> str:
    kind, context = str(error["type"]), error.get("ctx", {})
    if kind.startswith(("model", "dict")):
        named = [context.get("class_name"), *path[:1]]
        told = next((_OBJECTS[name] for name in named if name in _OBJECTS), None)
        if told is not None:
            return told
    if context.get("pattern") == ADDRESS:
        return "Give an address that begins with https:// or http://."
    return (_first(_REMEDIES, kind) or "Correct it.").format_map(context)


def _first(words: Mapping[str, str], kind: str) -> str | None:
    return next((text for start, text in words.items() if kind.startswith(start)), None)


def _said(given: object) -> str:
    """What came, in JSON's words."""
    if given is None or isinstance(given, bool):
        return {None: "null", True: "true", False: "false"}[given]
    return next((words for kind, words in _SAID.items() if isinstance(given, kind)), type(given).__name__)
