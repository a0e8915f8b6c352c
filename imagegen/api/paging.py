"""What all lists share: filters, page size, opaque cursors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from imagegen.api.access import listed_owner
from imagegen.api.tokens import Caller
from imagegen.bounds import in_calendar
from imagegen.checks import check_text
from imagegen.contracts import JobType
from imagegen.errors import InvalidRequest, Problem

MAX_PAGE = 200

Cursor = Annotated[str | None, Query(max_length=400, description="`nextCursor` of the page before, as it is.")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


def _written(value: Any) -> Any:
    """A bare number would be taken for seconds since 1970."""
    if isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\d[Tt ]", value):
        raise ValueError("is no RFC 3339 time, such as 2026-12-01T09:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(in_calendar)]


def known_query(*names: str) -> Callable[[Request], None]:
    """A dependency that refuses any other query parameter, and the same one twice: a misspelt filter must not show
    everything, and no filter be passed over."""

    def check(request: Request) -> None:
        given = Counter(name for name, _ in request.query_params.multi_items())
        told = ", ".join(sorted(names))
        problems: list[Problem] = [
            {"field": name, "reason": "is no parameter of this list", "remedy": f"Send {told}."}
            for name in sorted(set(given) - {*names})
        ]
        problems += [
            {"field": name, "reason": f"is given {given[name]} times", "remedy": "Send it once."}
            for name in names if given[name] > 1
        ]  # fmt: skip
        if problems:
            raise InvalidRequest.from_problems(problems)

    return check


@dataclass(frozen=True)
class Listed:
    """Query parameters of a list; the newest come first."""

    type: Annotated[JobType | None, Query(description="Job type.")] = None
    project: Annotated[str | None, Query(min_length=1, max_length=120)] = None
    since: Annotated[Moment | None, Query(description="Made at or after this time, RFC 3339.")] = None
    until: Annotated[Moment | None, Query(description="Made before this time, RFC 3339.")] = None
    owner: Annotated[str | None, Query(min_length=1, max_length=120, description="For service tokens.")] = None
    cursor: Cursor = None
    limit: Limit = 50

    def filters(self, caller: Caller) -> dict[str, Any]:
        """The fields of a filter that jobs and batches have in common. Raises `InvalidRequest`, `Forbidden`."""
        check_text({"project": self.project, "owner": self.owner, "cursor": self.cursor})
        return {
            "owner": listed_owner(self.owner, caller), "job_type": self.type.value if self.type else None,
            "project_id": self.project, "since": self.since, "until": self.until,
        }  # fmt: skip


KNOWN_QUERY = Depends(known_query("status", *(field.name for field in fields(Listed))))
"""For the routes that list by `Listed` and `status`."""
