"""What the served OpenAPI says of bodies and refusals, which the routes read themselves."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import FastAPI
from pydantic import BaseModel, Field, StrictBool, StringConstraints
from pydantic.json_schema import models_json_schema

from imagegen.api.problems import MEDIA_TYPE, Problem
from imagegen.budgets import MOST
from imagegen.contracts import BatchRequest, ImageRequest, Style, Wire

Item = TypeVar("Item", bound=BaseModel)
Period = Literal["day", "month", "total"]
MAX_SCOPE = 140
"""Characters of a budget's scope: its kind and a name of 120."""
SCOPES = "`all`, `owner:NAME`, `project:NAME` or `provider:NAME`."
REFS = "#/components/schemas/{model}"

CHARACTER = {"name": "Mara", "description": "a lighthouse keeper in her sixties", "outfit": "yellow oilskins"}
IMAGE_EXAMPLES = {
    "prompt": {
        "summary": "A picture of a prompt",
        "value": {"prompt": "a red fox in fresh snow", "width": 1024, "height": 1024},
    },
    "character": {
        "summary": "A character's master asset",
        "value": {"character": CHARACTER, "projectId": "harbour"},
    },
    "frame": {
        "summary": "A frame of a stored style",
        "value": {
            "prompt": "Mara lights the lamp",
            "jobType": "start_frame",
            "projectId": "harbour",
            "sceneId": "1",
            "shotId": "3",
            "style": {"name": "Noir", "modifiers": ["film grain"]},
        },
    },
}
BATCH_EXAMPLES = {
    "characters": {
        "summary": "Two characters",
        "value": {"characters": [CHARACTER, {"name": "Tom"}], "projectId": "harbour"},
    },
    "requests": {
        "summary": "Two requests",
        "value": {"requests": [{"prompt": "a fox"}, {"prompt": "a cat", "seed": 7}]},
    },
}
STYLE_EXAMPLES = {
    "noir": {"value": {"name": "Noir", "modifiers": ["film grain"], "palette": ["#101010"], "avoid": ["colour"]}}
}
BUDGET_EXAMPLES = {
    "month": {"summary": "All jobs of a month", "value": {"scope": "all", "period": "month", "limit": 250}},
    "soft": {
        "summary": "An owner's day, told of and not refused",
        "value": {"scope": "owner:shop", "period": "day", "limit": 12.5, "hard": False},
    },
}
METRICS_EXAMPLE = """\
# HELP imagegen_alert_active Alerts that stand.
# TYPE imagegen_alert_active gauge
imagegen_alert_active{kind="budget"} 1.0
# HELP imagegen_spend_dollars US dollars by what became of each paid call.
# TYPE imagegen_spend_dollars gauge
imagegen_spend_dollars{emulated="false",kind="settle",model="gemini-3-pro-image",provider="gemini"} 12.06
"""
REFUSALS = {
    400: "Malformed JSON, or a body that broke off",
    401: "No token that holds",
    402: "It costs money once more, and nobody said it may; or more than a budget has",
    403: "The token does not allow it",
    404: "No such thing, or not this caller's",
    408: "The body came too slowly",
    409: "How it stands does not allow it, or the idempotency key has another body",
    413: "The body is too large",
    415: "Another media type",
    422: "The request is wrong: see `problems`",
    429: "Too many requests: see Retry-After",
    503: "A part is away: see Retry-After",
}
EVERYWHERE = {401, 422, 429, 503}


class RetryRequest(Wire):
    """How a failed job goes on. `buy`: pay once more where its picture was, or may have been, charged and is lost.

    `idempotencyKey`: sent again under it, nothing goes on a second time by it, however the job or batch stands.
    """

    buy: bool = False
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None


class BudgetRequest(Wire):
    """A budget as it shall be. `limit`: US dollars; a hard one refuses what it has no room for, a soft one alerts."""

    scope: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SCOPE)] = Field(description=SCOPES)
    period: Period
    limit: Annotated[Decimal, Field(gt=0, lt=MOST, decimal_places=6)]
    hard: StrictBool = True


class Page(BaseModel, Generic[Item]):
    """One page of a list. `nextCursor` asks for the next one; null: there is none."""

    items: list[Item]
    next_cursor: str | None = Field(alias="nextCursor")


_BODIES: tuple[type[BaseModel], ...] = (ImageRequest, BatchRequest, Style, RetryRequest, BudgetRequest)


def takes(model: type[BaseModel], examples: dict[str, Any] | None = None, *, required: bool = True) -> dict[str, Any]:
    """A route's JSON body."""
    content: dict[str, Any] = {"schema": {"$ref": REFS.format(model=model.__name__)}}
    if examples:
        content["examples"] = examples
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


def refuses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's refusals: those named, and those that every route of the API has."""
    content = {MEDIA_TYPE: {"schema": {"$ref": REFS.format(model=Problem.__name__)}}}
    return {
        status: {"description": REFUSALS[status], "content": content} for status in sorted({*statuses, *EVERYWHERE})
    }


def describe(app: FastAPI) -> None:
    """Adds the models that the routes read and answer by themselves to the application's OpenAPI."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            _, models = models_json_schema(
                [*((model, "validation") for model in _BODIES), (Problem, "serialization")], ref_template=REFS
            )
            document.setdefault("components", {}).setdefault("schemas", {}).update(models["$defs"])
            for operation in (one for methods in document["paths"].values() for one in methods.values()):
                # Made of a function's name otherwise, which says less than its first sentence.
                operation["summary"] = re.split(r"[.;:](?:\s|$)", operation["description"])[0]
        return made()

    app.openapi = openapi  # type: ignore[method-assign]
