"""What a dry run answers, at every door: JSON in camelCase, every key there, null when unknown."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

QuotaVerdict = Literal["ok", "low", "exhausted", "breaker", "paused", "unknown"]


class _Part(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", protected_namespaces=(), frozen=True
    )


class EstimatedCost(_Part):
    """US dollars, at most six decimals. `high` is what admission would reserve; both are 0 for a cache hit."""

    low: float
    high: float
    currency: str = "USD"


class ExpectedSeconds(_Part):
    """From the order to its picture, by the newest `samples` attempts at this provider and model; null without any."""

    p50: float | None = None
    p95: float | None = None
    samples: int = 0


class Quota(_Part):
    """Whether the provider would take the order. `credit` is its balance in its own unit, null where it has no such
    answer (then the best verdict is `unknown`); `breaker` its circuit; `pauses` what holds the job back here."""

    verdict: QuotaVerdict
    credit: float | None = None
    breaker: str
    pauses: list[str] = Field(default_factory=list)
    detail: str | None = None


class BudgetRoom(_Part):
    """One budget that the request belongs to, US dollars; `requested` is what admission would reserve."""

    scope: str
    period: str
    hard: bool
    limit: float
    committed: float
    remaining: float
    requested: float
    admitted: bool


class BudgetVerdict(_Part):
    """Whether admission has room; only a hard budget refuses."""

    admitted: bool
    budgets: list[BudgetRoom]


class EstimateDocument(_Part):
    """One request: what would be bought where, for how much, how soon, and whether it would be let in."""

    dry_run: bool = True
    provider: str
    model: str
    width: int
    height: int
    format: str
    ratio: str
    tier: str
    emulated: bool
    cache_hit: bool
    cost: EstimatedCost
    expected_seconds: ExpectedSeconds
    quota: Quota
    budget: BudgetVerdict
    sent_prompt: str
    warnings: list[str]

    def json_document(self) -> dict[str, Any]:
        """The JSON object."""
        return self.model_dump(mode="json", by_alias=True)


class BatchEstimate(_Part):
    """One to four requests that would be admitted together; `budget` is that of all of them."""

    dry_run: bool = True
    jobs: list[EstimateDocument]
    cost: EstimatedCost
    budget: BudgetVerdict

    def json_document(self) -> dict[str, Any]:
        """The JSON object."""
        return self.model_dump(mode="json", by_alias=True)
