"""What every client makes of its caller's words: a checked request, the id of a job or batch. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from pydantic.alias_generators import to_camel

from imagegen.contracts import BatchRequest, Character, ImageRequest, parse_batch, parse_request
from imagegen.errors import InvalidRequest, NotFound
from imagegen.inputs import Door, all_refs, kind_of
from imagegen.results import Batch, Job

Briefs = Iterable[Character | Mapping[str, Any] | str]
"""Characters: whole, as briefs, or by name alone."""
Named = Job | Batch | UUID | str
"""A job or a batch, by its document or its id."""


def image_request(prompt: str | None, fields: Mapping[str, Any], door: Door) -> ImageRequest:
    """The request, its fields in snake_case or camelCase. Raises `InvalidRequest` with every problem."""
    body = camel(fields)
    if prompt is not None:
        body["prompt"] = prompt
    request = parse_request(body)
    _check_images(request, door)
    return request


def batch_request(
    characters: Briefs | None, fields: Mapping[str, Any], door: Door
) -> tuple[BatchRequest, list[ImageRequest]]:
    """The request and its members in input order. Raises `InvalidRequest` with every problem."""
    body = camel(fields)
    if characters is not None:
        # A single one is no list, though Python could take it apart: "Ada" would be three pictures.
        one, many = isinstance(characters, str | Mapping | Character), isinstance(characters, Iterable)
        body["characters"] = [_brief(each) for each in characters] if many and not one else _plain(characters)
    if isinstance(body.get("requests"), list):
        body["requests"] = [camel(one) if isinstance(one, Mapping) else one for one in body["requests"]]
    request = parse_batch(body)
    members = request.members()
    for member in members:
        _check_images(member, door)
    return request, members


def body_of(request: ImageRequest | BatchRequest) -> dict[str, Any]:
    """The JSON object to be sent: what the caller said, and no default."""
    return request.model_dump(mode="json", by_alias=True, exclude_unset=True)


def id_of(named: Named) -> UUID:
    """Whose id it is. Raises `InvalidRequest` for text that is none."""
    if isinstance(named, Job | Batch):
        return named.id
    if isinstance(named, UUID):
        return named
    try:
        return UUID(named)
    except ValueError:
        raise InvalidRequest.of("id", f"{named[:60]!r} is no id", "Give the id of a job or a batch.") from None


def kinds_of(named: Named) -> tuple[str, ...]:
    """Where it is found; an id may be of either."""
    if isinstance(named, Job):
        return ("jobs",)
    return ("batches",) if isinstance(named, Batch) else ("jobs", "batches")


def missing(error: NotFound, named: Named) -> NotFound:
    """The error of the place that was asked last, in words that are true of all that were."""
    places = kinds_of(named)
    return error if len(places) == 1 else NotFound(f"no job or batch has the id {id_of(named)}", error.details)


def camel(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by the names that they have in JSON."""
    return {to_camel(name): value for name, value in fields.items()}


def _check_images(request: ImageRequest, door: Door) -> None:
    """`InvalidRequest` for a spelling that this door does not take."""
    for field, ref in all_refs(request, request.style, "style.references"):
        kind_of(ref, field, door)


def _brief(character: Character | Mapping[str, Any] | str) -> Any:
    return {"name": character} if isinstance(character, str) else _plain(character)


def _plain(given: Any) -> Any:
    """As it is said in JSON."""
    if isinstance(given, Character):
        return given.model_dump(by_alias=True, exclude_unset=True)
    return dict(given) if isinstance(given, Mapping) else given
