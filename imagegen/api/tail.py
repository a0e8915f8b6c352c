"""Which lines of the log of events may be handed on, and in what order, so that none is ever missed. Pure.

    numbers    … 101 102 103  ·  105 106          104 is written, but not committed yet

105 and 106 wait until 104 is seen, or until no transaction is left that could still bring it (it was undone), but no
longer than `policies.STREAM_GAP`. Then they are handed on, and 104 is looked for on its own, for
`policies.STREAM_GAP_MEMORY`: it is handed on whenever it comes.
"""

from __future__ import annotations

from dataclasses import dataclass

from imagegen.policies import STREAM_GAP, STREAM_GAP_MEMORY
from imagegen.ports_events import LOOKBACK, MOST_OPEN, Horizon, Line, Newest, News, Place


@dataclass(frozen=True)
class Handed:
    """A line, and what of the log was handed on with it or before."""

    line: Line
    log: Place


@dataclass(frozen=True)
class _Gap:
    """A number that could not be seen: since when (seconds), and the first transaction that cannot have drawn it."""

    since: float
    begun: int

    def settled(self, horizon: Horizon) -> bool:
        """Whether every transaction that may have drawn it has ended. Numbers are drawn by ones that have begun."""
        return horizon.ended >= self.begun


class Tail:
    """The end of the log as far as it was handed on. `now`: seconds of a monotonic clock."""

    def __init__(self, newest: Newest, now: float) -> None:
        gap = _Gap(now, newest.horizon.begun)
        missing = [] if gap.settled(newest.horizon) else sorted(newest.missing)[-MOST_OPEN:]
        self.last = newest.last
        self._open = dict.fromkeys(missing, gap)
        self._ahead: dict[int, _Gap] = {}

    @property
    def place(self) -> Place:
        """What was handed on."""
        return Place(self.last, frozenset(self._open))

    @property
    def missing(self) -> list[int]:
        """Numbers behind `last` that are still looked for."""
        return sorted(self._open)

    def take(self, news: News, now: float) -> list[Handed]:
        """The lines to hand on of those seen; whatever is held back is seen again by the next look."""
        handed = []
        for line in (line for line in news.lines if line.id in self._open):
            del self._open[line.id]
            handed.append(Handed(line, self.place))
        self._open = {
            number: gap
            for number, gap in self._open.items()
            if not gap.settled(news.horizon) and now - gap.since < STREAM_GAP_MEMORY
        }
        for line in sorted((line for line in news.lines if line.id > self.last), key=lambda line: line.id):
            if not self._reaches(line.id, news.horizon, now):
                break
            self._ahead.pop(line.id, None)
            self.last = line.id
            handed.append(Handed(line, self.place))
        return handed

    def _reaches(self, number: int, horizon: Horizon, now: float) -> bool:
        """Whether nothing below this number is worth waiting for."""
        missing = range(max(self.last + 1, number - LOOKBACK), number)
        gaps = {one: self._ahead.setdefault(one, _Gap(now, horizon.begun)) for one in missing}
        unsettled = {one: gap for one, gap in gaps.items() if not gap.settled(horizon)}
        patient = any(now - gap.since < STREAM_GAP for gap in unsettled.values())
        if patient or len(unsettled) + len(self._open) > MOST_OPEN:
            return False
        self._open |= unsettled
        for one in gaps:
            del self._ahead[one]
        return True
