"""The port `Deliveries` on PostgreSQL; the rows come from `storage.outbox`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, RowMapping, Select, and_, case, func, literal, literal_column, null, or_, select, update
from sqlalchemy import tuple_ as place_of
from sqlalchemy.dialects.postgresql import JSONB

from imagegen import policies
from imagegen.errors import NotFound
from imagegen.links import Links
from imagegen.outbox import Delivery, Sending, State, Target, Told
from imagegen.ports_deliveries import DeliveryFilter, Due
from storage import rows
from storage.columns import MOMENT
from storage.engine import Database
from storage.events import AT
from storage.listing import cursor_of, place
from storage.tables import BATCHES, JOBS, value
from storage.tables_outbox import DELIVERIES

_row = DELIVERIES.c
_ID = value("delivery_id", _row.id)
_NUMBER = value("number", Integer())
_DUE_NOW = and_(_row.due_at.is_not(None), _row.due_at <= AT)


def _due() -> Select[Any]:
    """Takes `at` and `limit`. Sweeps at the same moment may hand out a few more than that, never the same ones."""
    out = select(func.count()).where(_row.due_at.is_not(None), _row.held_until > AT).scalar_subquery()
    picked = (
        select(_row.id, _row.due_at)
        .where(_DUE_NOW, or_(_row.held_until.is_(None), _row.held_until <= AT))
        .order_by(_row.due_at, _row.id)
        .limit(func.greatest(value("limit", Integer()) - out, 0))
        .with_for_update(skip_locked=True)
        .cte("picked")
    )
    held = AT + literal(policies.DELIVERY_HINT)
    taken = update(DELIVERIES).where(_row.id == picked.c.id).values(held_until=held)
    given = taken.returning(_row.id, (_row.attempts + 1).label("number"), picked.c.due_at.label("since")).cte("given")
    return select(given).order_by(given.c.since, given.c.id)


DUE = _due()
TAKE = (
    update(DELIVERIES)
    .where(_row.id == _ID, _DUE_NOW, _row.attempts == _NUMBER - 1)
    .values(attempts=_NUMBER, held_until=AT + literal(policies.DELIVERY_LEASE))
    .returning(*_row)
)


def _settle() -> Any:
    newest = _row.attempts == _NUMBER
    state, due_at = value("state", _row.state), value("due_at", MOMENT)
    wins = or_(newest, state == literal(State.DELIVERED.value))
    return (
        update(DELIVERIES)
        .where(_row.id == _ID)
        .values(
            log=_row.log.concat(value("sending", JSONB())),
            state=case((wins, state), else_=_row.state),
            due_at=case((wins, due_at), else_=_row.due_at),
            held_until=case((newest, null()), else_=_row.held_until),
        )
    )


SETTLE = _settle()
GET = select(DELIVERIES).where(_row.id == _ID)
REDELIVER = (
    update(DELIVERIES)
    .where(_row.id == _ID)
    .values(state=literal_column(f"'{State.DUE}'"), due_at=AT, since=AT, held_until=null())
    .returning(*_row)
)


class PostgresDeliveries:
    """See `imagegen.ports_deliveries.Deliveries`."""

    def __init__(self, database: Database, links: Links | None = None) -> None:
        """`links`: how documents name pictures at the moment they are told."""
        self._database = database
        self._links = links or Links()

    def due(self, *, at: datetime, limit: int) -> Sequence[Due]:
        """Those whose time has come, longest due first."""
        return [Due(row["id"], row["number"]) for row in self._database.run(DUE, {"at": at, "limit": limit})]

    def take(self, delivery_id: UUID, number: int, *, at: datetime) -> Delivery | None:
        """Begins this attempt; None: not to be begun."""
        found = self._database.run(TAKE, {"delivery_id": delivery_id, "number": number, "at": at})
        return self._delivery(found[0]) if found else None

    def settle(self, delivery: Delivery, sending: Sending, told: Told) -> None:
        """Notes what the attempt came to."""
        values = {"delivery_id": delivery.id, "number": delivery.attempts, "sending": [_logged(sending)]}
        self._database.run(SETTLE, {**values, "state": told.state.value, "due_at": told.due_at})

    def get(self, delivery_id: UUID) -> Delivery:
        """The delivery; raises `NotFound`."""
        return self._one(GET, {"delivery_id": delivery_id})

    def list(
        self, where: DeliveryFilter, *, limit: int = 50, cursor: str | None = None
    ) -> tuple[Sequence[Delivery], str | None]:
        """Newest first, and the next page's cursor."""
        chosen = select(DELIVERIES).order_by(_row.at.desc(), _row.id.desc()).limit(limit + 1)
        for name in ("state", "owner", "job_id", "batch_id"):
            wanted = getattr(where, name)
            if wanted is not None:
                chosen = chosen.where(_row[name] == wanted)
        if cursor is not None:
            chosen = chosen.where(place_of(_row.at, _row.id) < place_of(*place(cursor)))
        found = [self._delivery(row) for row in self._database.run(chosen)]
        more = len(found) > limit
        return found[:limit], cursor_of(found[limit - 1].at, found[limit - 1].id) if more else None

    def redeliver(self, delivery_id: UUID, *, at: datetime) -> Delivery:
        """Due again, for another day; raises `NotFound`."""
        return self._one(REDELIVER, {"delivery_id": delivery_id, "at": at})

    def _one(self, statement: Any, values: Mapping[str, Any]) -> Delivery:
        found = self._database.run(statement, values)
        if not found:
            raise NotFound(f"no delivery {values['delivery_id']}")
        return self._delivery(found[0])

    def _delivery(self, row: RowMapping) -> Delivery:
        return _delivery(row, _document(row["snapshot"], self._links))


_SAME = (
    "id", "event_id", "kind", "address", "owner", "job_id", "batch_id", "at", "since", "due_at", "held_until",
    "attempts",
)  # fmt: skip


def _delivery(row: RowMapping, document: dict[str, Any]) -> Delivery:
    return Delivery(
        **{name: row[name] for name in _SAME},
        target=Target(row["target"]),
        state=State(row["state"]),
        document=document,
        log=tuple(Sending(**{**one, "at": datetime.fromisoformat(one["at"])}) for one in row["log"]),
    )


def _logged(sending: Sending) -> dict[str, Any]:
    return {"at": sending.at, "ms": sending.ms, "status": sending.status, "error": sending.error}


def _document(snapshot: Mapping[str, Any], links: Links) -> dict[str, Any]:
    """The document of the rows as their end left them."""
    if "job" in snapshot:
        return links.job(rows.job(_typed(snapshot["job"], JOBS))).json_document()
    batch = rows.batch(_typed(snapshot["batch"], BATCHES))
    members = [rows.job(_typed(one, JOBS)) for one in snapshot["jobs"] or ()]
    members.sort(key=lambda job: job.batch_index or 0)
    return links.batch(batch, members).json_document()


def _typed(record: Mapping[str, Any], table: Any) -> Any:
    """A row that was written as JSON, with the types of its table again; columns made later are null."""
    return {column.name: _read(record.get(column.name), column.type.python_type) for column in table.columns}


def _read(written: Any, kind: type) -> Any:
    if written is None:
        return None
    if kind is datetime:
        return datetime.fromisoformat(written)
    if kind is Decimal:
        return Decimal(str(written))
    return UUID(written) if kind is UUID else written
