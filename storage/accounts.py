"""The tables of money: the books, the pictures bought before, who buys now, budgets and alerts."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from sqlalchemy import BigInteger, Column, Identity, Index, text
from sqlmodel import Field

from storage.columns import DOLLARS, JSON, MOMENT, TEXT, Row, one_of, table

PERIODS = ("day", "month", "total")
LEDGER_KINDS = ("reserve", "settle", "release", "waste", "uncertain")


class LedgerRow(Row, table=True):
    """One line of the books, never changed. An attempt has at most one line of each kind in a run of its job: a replay
    adds none."""

    __tablename__ = "imagegen_ledger"
    __table_args__ = (
        one_of("kind", LEDGER_KINDS),
        Index("imagegen_ledger_once", "attempt_id", "kind", "run", unique=True),
        Index("imagegen_ledger_job", "job_id"),
        Index("imagegen_ledger_at", "at"),
    )

    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    job_id: UUID = Field(foreign_key="image_generation_jobs.id")
    attempt_id: UUID | None = Field(foreign_key="imagegen_attempts.id")
    kind: str = Field(sa_type=TEXT)
    amount: Decimal = Field(sa_type=DOLLARS)
    currency: str = Field(sa_type=TEXT)
    price: dict[str, Any] = Field(sa_type=JSON)
    emulated: bool
    at: datetime = Field(sa_type=MOMENT)
    run: int = Field(sa_column_kwargs={"server_default": text("1")})


class CacheRow(Row, table=True):
    """The newest picture bought for a fingerprint. Emulated pictures never stand for real ones."""

    __tablename__ = "imagegen_cache"

    fingerprint: str = Field(sa_type=TEXT, primary_key=True)
    emulated: bool = Field(primary_key=True)
    blob_sha256: str = Field(sa_type=TEXT)
    content_type: str = Field(sa_type=TEXT)
    width: int
    height: int
    bytes: int = Field(sa_type=cast(Any, BigInteger))
    created_at: datetime = Field(sa_type=MOMENT)


class FlightRow(Row, table=True):
    """Who buys the picture of a fingerprint at the moment; whoever wants the same waits for it."""

    __tablename__ = "imagegen_flights"

    fingerprint: str = Field(sa_type=TEXT, primary_key=True)
    emulated: bool = Field(primary_key=True)
    leader: UUID
    taken_at: datetime = Field(sa_type=MOMENT)


class BudgetRow(Row, table=True):
    """How much a scope may commit in a period (UTC): `all`, `owner:N`, `project:N`, `provider:N`. Only a hard budget
    refuses; every budget alerts. Emulated money has budgets of its own."""

    __tablename__ = "imagegen_budgets"
    __table_args__ = (one_of("period", PERIODS),)

    scope: str = Field(sa_type=TEXT, primary_key=True)
    period: str = Field(sa_type=TEXT, primary_key=True)
    emulated: bool = Field(primary_key=True)
    amount: Decimal = Field(sa_type=DOLLARS)
    hard: bool
    created_at: datetime = Field(sa_type=MOMENT)
    updated_at: datetime = Field(sa_type=MOMENT)


class SpendingRow(Row, table=True):
    """What the jobs of a budget's scope committed in one of its periods. A trigger keeps it, in the transaction of
    every change of `image_generation_jobs.committed`."""

    __tablename__ = "imagegen_spending"

    scope: str = Field(sa_type=TEXT, primary_key=True)
    period: str = Field(sa_type=TEXT, primary_key=True)
    emulated: bool = Field(primary_key=True)
    starts: date = Field(primary_key=True)
    committed: Decimal = Field(sa_type=DOLLARS)


class AlertRow(Row, table=True):
    """An alert that was raised and has not been cleared: each is told once per crossing."""

    __tablename__ = "imagegen_alerts"

    key: str = Field(sa_type=TEXT, primary_key=True)
    kind: str = Field(sa_type=TEXT)
    message: str = Field(sa_type=TEXT)
    detail: dict[str, Any] = Field(sa_type=JSON)
    raised_at: datetime = Field(sa_type=MOMENT)
    told_at: datetime | None = Field(sa_type=MOMENT)


LEDGER, CACHE, FLIGHTS, BUDGETS, SPENDING, ALERTS = (
    table(row) for row in (LedgerRow, CacheRow, FlightRow, BudgetRow, SpendingRow, AlertRow)
)
