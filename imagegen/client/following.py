"""A stream of server-sent events from its reader's side, without a socket: what is asked, told, and when it is over.

Each event carries an id; who connects again with the last one misses nothing and hears nothing twice. `Following`
decides; whoever drives it (`synchronous`, `asynchronous`) connects, reads and sleeps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from imagegen.client.calls import Named, id_of, kinds_of, missing
from imagegen.client.protocol import Call, Lost, Pause, Reply, Trouble, error_of, trouble_of
from imagegen.client.talks import OUTAGE, RESEND_FIRST, RESEND_LAST, ROOT, Talks
from imagegen.errors import ImagegenError, InvalidRequest, NotFound
from imagegen.results import Batch, Job
from imagegen.states import TERMINAL

MEDIA_TYPE = "text/event-stream"
SILENCE = 40.0
"""Seconds without a sign of life until a stream counts as broken; the door gives one every 15 (docs/events.md)."""
RECONNECT = 2.0
"""Seconds until a stream that broke off is asked for again, where the door named none."""
SNAPSHOT, ERASED, BATCH_END = "snapshot", "erased", "batch."


class Event(BaseModel):
    """Something that happened to a job or a batch. `id` is opaque: given as `last`, the stream goes on behind it.

    `name`: `snapshot`, the status, `replaced`, `batch.…` or `erased`. `job`, `batch`: the document, where the event has
    one: a snapshot or an end. `at` is RFC 3339 text. What an event does not tell is None.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    id: str
    name: str
    job_id: UUID | None = None
    batch_id: UUID | None = None
    owner: str | None = None
    run: int | None = None
    move: str | None = None
    status: str | None = None
    stage: str | None = None
    at: str | None = None
    job: Job | None = None
    batch: Batch | None = None

    @classmethod
    def read(cls, mark: str, name: str, data: Mapping[str, Any]) -> Self:
        """The event of a message. Raises `ValueError`, `TypeError`."""
        whole = {"batch" if "jobs" in data else "job": data} if name == SNAPSHOT else {}
        return cls.model_validate({**data, **whole, "id": mark, "name": name})


class Following:
    """One stream, however many connections it takes: `next` says what to do, the other methods take what came of it.

    Until a stream has been open, trouble is told after the client's patience; later it is waited out for `OUTAGE`
    seconds. `named` None: all that is the caller's. Raises `InvalidRequest`.
    """

    def __init__(self, talks: Talks, named: Named | None, last: str | None) -> None:
        self._talks = talks
        self._named = named
        self._subject = None if named is None else id_of(named)
        self._kinds = ("",) if named is None else kinds_of(named)
        self._last = None if last is None else _checked(last)
        self._open_once = self._ended = self._over = False
        self._reconnect, self._resend = RECONNECT, RESEND_FIRST
        self._pause: float | None = None
        self._away_since: float | None = None

    def next(self) -> Call | Pause | None:
        """A connection to be made, or a pause; None: all was told."""
        if self._over:
            return None
        if self._away_since is None:
            self._away_since = self._talks.clock.monotonic()
        if self._pause is not None:
            pause, self._pause = Pause(self._pause), None
            return pause
        where = "" if self._subject is None else f"/{self._kinds[0]}/{self._subject}"
        resumed = {} if self._last is None else {"Last-Event-ID": self._last}
        headers = {"Accept": MEDIA_TYPE, "Cache-Control": "no-store", **resumed}
        return Call(method="GET", path=f"{ROOT}{where}/events", headers=headers, seconds=SILENCE)

    def opened(self, status: int, content_type: str) -> bool:
        """Whether what is answered is a stream; anything else is read to its end, for `answered`."""
        if status != 200 or content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
            return False
        self._open_once, self._ended, self._away_since = True, False, None
        return True

    def told(self, mark: str, name: str, data: str, retry: int | None) -> Event | None:
        """The event of a block of the stream; None for one that only says where it stands. `retry` is milliseconds."""
        if retry is not None:
            self._reconnect = retry / 1000
        if not data:
            # Who has had no snapshot yet is to get it: the place of the opening alone would leave it out.
            if self._subject is None:
                self._last = mark or self._last
            return None
        self._last = mark or self._last
        try:
            event = Event.read(self._last or "", name, json.loads(data))
        except (ValueError, TypeError) as error:
            raise self._strange(f"an event {name!r} that cannot be read") from error
        self._ended = self._is_end(event)
        return event

    def closed(self) -> None:
        """The door ended the connection in order: with what was followed, or because it is to be asked again."""
        if self._ended:
            self._over = True
        else:
            self._pause = self._later()

    def answered(self, answer: Reply | Lost) -> Event | None:
        """No stream came, or it broke off. An event where this tells what became of what was followed.

        Raises the error of a refusal, and of trouble that lasts.
        """
        trouble = trouble_of(answer, self._talks.url)
        if trouble is not None:
            self._wait_out(trouble)
            return None
        assert isinstance(answer, Reply)
        if answer.status == 204:
            self._over = True
            return None
        if 200 <= answer.status < 300:
            raise self._strange("what is no stream of events")
        error = error_of(answer, self._talks.url)
        if not isinstance(error, NotFound) or self._subject is None:
            raise error
        return self._missing(error)

    def _missing(self, error: NotFound) -> Event | None:
        """It was there and is not any more, or it is of the other kind. Raises `NotFound`."""
        if self._open_once:
            self._over = True
            name = "job_id" if self._kinds[0] == "jobs" else "batch_id"
            return Event.model_validate({"id": self._last or "", "name": ERASED, name: self._subject})
        if len(self._kinds) == 1:
            raise error if self._named is None else missing(error, self._named)
        self._kinds = self._kinds[1:]
        return None

    def _is_end(self, event: Event) -> bool:
        if self._subject is None or event.name == SNAPSHOT:
            return False
        if event.name == ERASED:
            return True
        return event.status in TERMINAL if self._kinds[0] == "jobs" else event.name.startswith(BATCH_END)

    def _wait_out(self, trouble: Trouble) -> None:
        now = self._talks.clock.monotonic()
        self._away_since = now if self._away_since is None else self._away_since
        seconds = max(trouble.after or 0.0, self._later())
        if now + seconds - self._away_since >= (OUTAGE if self._open_once else self._talks.patience):
            trouble.error.details["lastEventId"] = self._last
            raise trouble.error
        self._pause = seconds

    def _later(self) -> float:
        """Seconds until the next try: what the door asked for and a little more, so that not all come back at once."""
        if self._open_once:
            return self._reconnect * (1 + self._talks.draw() / 2)
        resend, self._resend = self._resend, min(self._resend * 2, RESEND_LAST)
        return resend * (0.5 + self._talks.draw() / 2)

    def _strange(self, what: str) -> ImagegenError:
        return ImagegenError(f"{self._talks.url} answers with {what}: is the address right?")


def _checked(last: str) -> str:
    if not last or not last.isascii() or not last.isprintable():
        raise InvalidRequest.of("last", "is no event's id", "Give the `id` of the last event that you had, or None.")
    return last
