"""The port `Budgets` in memory, over the jobs that it limits: what they commit is summed up whenever it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from imagegen.money import utc_day
from imagegen.records import Budget
from imagegen.testing.jobs import MemoryJobs


class MemoryBudgets:
    """See `imagegen.ports.Budgets`. `jobs`: the double whose admissions keep these budgets."""

    def __init__(self, jobs: MemoryJobs, *, emulated: bool) -> None:
        self._jobs = jobs
        self._emulated = emulated

    def set(self, scope: str, period: str, amount: Decimal, hard: bool, *, at: datetime) -> Budget:
        with self._jobs.lock:
            self._jobs.budgets[scope, period, self._emulated] = (amount, hard)
        return next(one for one in self.list(at=at) if (one.scope, one.period) == (scope, period))

    def remove(self, scope: str, period: str | None = None) -> int:
        with self._jobs.lock:
            gone = [
                key
                for key in self._jobs.budgets
                if key[0] == scope and period in {None, key[1]} and key[2] == self._emulated
            ]
            for key in gone:
                del self._jobs.budgets[key]
        return len(gone)

    def list(self, *, at: datetime) -> Sequence[Budget]:
        with self._jobs.lock:
            own = sorted(key for key in self._jobs.budgets if key[2] == self._emulated)
            return [self._jobs.standing(key, utc_day(at)) for key in own]
