"""What is said to the HTTP door for each thing that a client does, and what is said again when no answer comes.

Sending again is harmless: an order carries an idempotency key, one of its own where the caller gave none, so does going
on with what failed, and looking changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from imagegen.client.calls import Briefs, Named, batch_request, body_of, id_of, image_request, kinds_of, missing
from imagegen.client.protocol import Answer, Call, Lost, Pause, Reply, Step, Talk, Trouble, document_of, trouble_of
from imagegen.contracts import BatchRequest, ImageRequest, rfc3339
from imagegen.costs import CostReport
from imagegen.errors import ImagegenError, InvalidRequest, NotFound, PartUnavailable, StillRunning
from imagegen.estimates import EstimateDocument
from imagegen.ports import Clock
from imagegen.results import Batch, Job

PATIENCE = 10.0
"""Seconds after which a call has an answer or an error, however often it was sent; `wait` has its own timeout."""
RESEND_FIRST, RESEND_LAST = 0.1, 2.0
"""Seconds until a call without an answer is sent again, doubling up to the longest, where the service names none."""
LOOK_FIRST, LOOK_LAST = 0.25, 2.0
"""Seconds between two looks at a door that does not hold its answer back until the end."""
LONGEST_WAIT = 45
"""Seconds that the door is asked to hold an answer back: it takes 60, and gateways commonly give up after 60."""
ANSWER = 5.0
"""Seconds that such an answer may be late."""
OUTAGE = 300.0
"""Seconds without the service after which even a `wait` without a timeout gives up."""

ROOT = "/api/images"
_NAMES = {"job_type": "type"}
"""What a filter is called in a query, where that is another name."""
Document = TypeVar("Document", bound=BaseModel)


class ListFilters(TypedDict, total=False):
    """Which jobs or batches; times as `datetime` with a zone or RFC 3339 text, `owner` for service tokens."""

    status: str
    job_type: str
    project: str
    since: datetime | str
    until: datetime | str
    owner: str


class CostFilters(TypedDict, total=False):
    """Which jobs' money; as `ListFilters`. `emulated`: the emulator's, which is never among the real one."""

    project: str
    since: datetime | str
    until: datetime | str
    owner: str
    emulated: bool


@dataclass(frozen=True)
class Page(Generic[Document]):
    """One page of a list, and where the next begins."""

    items: Sequence[Document]
    cursor: str | None


class _Stored(BaseModel):
    """What is told of a stored picture."""

    input: str


class _Unsure(Exception):
    """A call that had no answer for as long as it was sent may have been taken."""

    def __init__(self, error: ImagegenError) -> None:
        self.error = error
        super().__init__(error)


@dataclass(frozen=True)
class Talks:
    """Every conversation with the service at `url`. `draw` gives numbers from 0 to 1 that spread what is sent again."""

    url: str
    clock: Clock
    draw: Callable[[], float]
    patience: float = PATIENCE

    def generate(self, prompt: str | None, fields: Mapping[str, Any]) -> Talk[Job]:
        """One picture is asked for."""
        request = image_request(prompt, fields, "http")
        return self._read(Job, (yield from self._ordered("/generate", request)))

    def batch(self, characters: Briefs | None, fields: Mapping[str, Any]) -> Talk[Batch]:
        """One to four pictures are asked for."""
        request, _ = batch_request(characters, fields, "http")
        return self._read(Batch, (yield from self._ordered("/batches", request)))

    def estimate(self, prompt: str | None, fields: Mapping[str, Any]) -> Talk[EstimateDocument]:
        """A dry run."""
        body = body_of(image_request(prompt, fields, "http"))
        return self._read(EstimateDocument, (yield from self._post("/estimate", body)))

    def get(self, named: Named) -> Talk[Job | Batch]:
        """A job or batch as it stands."""
        return (yield from self._named(named, "GET"))

    def cancel(self, named: Named) -> Talk[Job | Batch]:
        """A job or batch is cancelled; once more is fine."""
        return (yield from self._named(named, "POST", "/cancel"))

    def retry(self, named: Named, buy: bool, key: str | None = None) -> Talk[Job | Batch]:
        """A failed job or batch goes on, once under the caller's key or one of its own however often it is sent."""
        headers = {} if key else {"Idempotency-Key": str(uuid4())}
        body = {"buy": buy} | ({"idempotencyKey": key} if key else {})
        try:
            return (yield from self._named(named, "POST", "/retry", body, headers, told=buy and not key))
        except _Unsure as unsure:
            raise PartUnavailable(
                f"no answer says whether {id_of(named)} goes on: look at it before you buy again, or buy by a key",
                {"part": "api", "billed": "unknown", "retryable": False},
            ) from unsure.error

    def costs(self, by: str, filters: CostFilters) -> Talk[CostReport]:
        """A report."""
        reply = yield from self._answered(self._get("/costs", {"by": by, **_query(filters)}))
        return self._read(CostReport, reply)

    def page(self, kind: type[Document], filters: ListFilters, cursor: str | None) -> Talk[Page[Document]]:
        """The page of a list, of jobs or of batches, that begins at the cursor."""
        query = _query(filters) | ({} if cursor is None else {"cursor": cursor})
        call = self._get("/batches" if kind is Batch else "/jobs", query)
        found = document_of((yield from self._answered(call)), self.url)
        try:
            return Page([kind.model_validate(item) for item in found["items"]], found["nextCursor"])
        except (KeyError, TypeError, ValidationError) as error:
            raise ImagegenError(f"{self.url} answers with what is no list of imagegen") from error

    def upload(self, picture: bytes) -> Talk[str]:
        """A picture is stored; the same bytes once more are the same picture."""
        headers = {"Content-Type": "application/octet-stream"}
        call = Call(method="POST", path=f"{ROOT}/inputs", headers=headers, body=picture, seconds=self.patience)
        return self._read(_Stored, (yield from self._answered(call))).input

    def wait(self, named: Named, timeout: float | None) -> Talk[Job | Batch]:
        """A job or batch, once it has ended; an outage of the service is waited out."""
        wanted, kinds = id_of(named), kinds_of(named)
        end = None if timeout is None else self.clock.monotonic() + timeout
        seen, pause = self.clock.monotonic(), LOOK_FIRST
        while True:
            began = self.clock.monotonic()
            held = LONGEST_WAIT if end is None else min(LONGEST_WAIT, int(max(0.0, end - began)))
            late = ANSWER if end is None else min(ANSWER, max(1.0, end - began - held))
            found = yield from self._looked(named, f"/{kinds[0]}/{wanted}", held, late, len(kinds) > 1)
            if found is None:
                kinds = kinds[1:]
                continue
            now = self.clock.monotonic()
            if isinstance(found, Trouble):
                self._check_outage(found, now - seen, end)
                asked, error = found.after, found.error
            elif found.done:
                return found
            else:
                seen, asked, error = now, None, None
                pause = LOOK_FIRST if held and now - began >= held / 2 else pause
            if end is not None and now >= end:
                raise StillRunning.of(wanted) from error
            yield Pause(_until(end, now, max(asked or 0.0, self._spread(pause))))
            pause = min(pause * 2, LOOK_LAST)

    def _looked(
        self, named: Named, path: str, held: int, late: float, other: bool
    ) -> Generator[Step, Answer, Job | Batch | Trouble | None]:
        """One look, held back by the door for `held` seconds at most. None: nothing here, but perhaps in `other`
        places."""
        call = replace(self._get(path, {}), seconds=held + late)
        answer = yield (replace(call, headers={"Prefer": f"wait={held}"}) if held else call)
        assert answer is not None
        trouble = trouble_of(answer, self.url)
        if trouble is not None:
            return trouble
        assert isinstance(answer, Reply)
        try:
            return self._result(answer)
        except NotFound as error:
            if other:
                return None
            raise missing(error, named) from None

    def _check_outage(self, trouble: Trouble, seconds: float, end: float | None) -> None:
        if end is None and seconds > OUTAGE:
            raise trouble.error

    def _ordered(self, path: str, request: ImageRequest | BatchRequest) -> Talk[Reply]:
        """An order, under the caller's key or one of its own: sent again, it names the same job."""
        headers = {} if request.idempotency_key else {"Idempotency-Key": str(uuid4())}
        return (yield from self._post(path, body_of(request), headers))

    def _named(
        self, named: Named, method: str, verb: str = "", body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None, told: bool = False,
    ) -> Talk[Job | Batch]:  # fmt: skip
        """Something done to a job or a batch, whichever has this id."""
        wanted, kinds = id_of(named), kinds_of(named)
        for kind in kinds:
            path = f"/{kind}/{wanted}{verb}"
            try:
                if method == "GET":
                    return self._result((yield from self._answered(self._get(path, {}))))
                return self._result((yield from self._post(path, body, headers, told)))
            except NotFound as error:
                if kind == kinds[-1]:
                    raise missing(error, named) from None
        raise AssertionError("there is always a last kind")

    def _get(self, path: str, query: Mapping[str, str]) -> Call:
        return Call(method="GET", path=ROOT + path, query=query, seconds=self.patience)

    def _post(
        self, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str] | None = None, told: bool = False
    ) -> Talk[Reply]:
        data = None if body is None else json.dumps(body).encode()
        kind = {} if data is None else {"Content-Type": "application/json"}
        call = Call(
            method="POST", path=ROOT + path, headers={**kind, **(headers or {})}, body=data, seconds=self.patience
        )
        return (yield from self._answered(call, told))

    def _answered(self, call: Call, told: bool = False) -> Talk[Reply]:
        """The answer to a call that is sent until there is one, within our patience.

        Raises the error of the last try where there is none; `_Unsure` where it may have been taken, and this is to be
        `told`.
        """
        end, pause, unsure = self.clock.monotonic() + self.patience, RESEND_FIRST, False
        while True:
            left = max(RESEND_FIRST, end - self.clock.monotonic())
            answer = yield replace(call, seconds=min(call.seconds, left))
            assert answer is not None
            trouble = trouble_of(answer, self.url)
            if trouble is None:
                assert not isinstance(answer, Lost)
                return answer
            unsure = unsure or trouble.sent
            seconds = max(trouble.after or 0.0, self._spread(pause))
            if self.clock.monotonic() + seconds >= end:
                raise _Unsure(trouble.error) if told and unsure else trouble.error
            yield Pause(seconds)
            pause = min(pause * 2, RESEND_LAST)

    def _spread(self, seconds: float) -> float:
        return seconds * (0.5 + self.draw() / 2)

    def _result(self, reply: Reply) -> Job | Batch:
        kind: type[Job] | type[Batch] = Batch if "jobs" in document_of(reply, self.url) else Job
        return self._read(kind, reply)

    def _read(self, kind: type[Document], reply: Reply) -> Document:
        found = document_of(reply, self.url)
        try:
            return kind.model_validate(found)
        except ValidationError as error:
            message = f"{self.url} answers with what is no {kind.__name__} of imagegen: {error.errors()[0]['msg']}"
            raise ImagegenError(message) from error


def _until(end: float | None, now: float, seconds: float) -> float:
    return seconds if end is None else min(seconds, end - now)


def _query(filters: ListFilters | CostFilters) -> dict[str, str]:
    """The filters as a query; what was left open is left out."""
    given = {name: value for name, value in filters.items() if value is not None}
    return {_NAMES.get(name, name): _text(name, value) for name, value in given.items()}


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, datetime):
        return str(value)
    if value.tzinfo is None:
        raise InvalidRequest.of(name, "has no time zone", "Give it one, for example datetime.now(UTC).")
    return rfc3339(value) or ""
