"""Scripted misbehaviour: which fault strikes which request, how often, and with what parameters.

A rule is `{"match": {...}, "fault": NAME, "times": N or null, "probability": p, "seed": n, ...parameters}`. `match`
takes `provider`, `prompt_contains` (any case) and `route`: a role (submit, poll, credit, models, file, or any of them)
or a part of the path. Without a route a rule looks at paid calls alone. `for_seconds` ends a rule that long after its
first hit: `{"fault": "maintenance", "match": {"provider": "gemini", "route": "any"}, "for_seconds": 30}` is a provider
that is down for half a minute. At most one answer fault and one file fault strike a request, the first that matches;
webhook faults add up. `CATALOGUE` names every fault and its parameters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from threading import Lock
from typing import Any

from imagegen.errors import InvalidRequest

SUBMIT, POLL, CREDIT, MODELS, FILE, ANY = "submit", "poll", "credit", "models", "file", "any"
ROLES = frozenset({SUBMIT, POLL, CREDIT, MODELS, FILE, ANY})


class Moment(Enum):
    """What a fault spoils: the answer, the finished picture, the webhook, or the connection before the body is read."""

    ANSWER = "answer"
    PICTURE = "picture"
    WEBHOOK = "webhook"
    CONNECTION = "connection"


@dataclass(frozen=True)
class Kind:
    """One fault: when it strikes, its parameters with their defaults, and whether it strikes any route."""

    moment: Moment
    defaults: Mapping[str, Any] = field(default_factory=dict)
    anywhere: bool = False


_DOWNLOADS = {"downloads": None}
CATALOGUE: Mapping[str, Kind] = {
    # when: submit or async (asynchronous APIs); reason: the finish or block reason (gemini); charged: money is kept
    "refusal": Kind(Moment.ANSWER, {"when": "submit", "reason": "IMAGE_SAFETY", "blocked": False, "charged": False}),
    "async_failure": Kind(Moment.ANSWER, {"flag": 3, "code": 500, "charged": False}),
    "rate_limit": Kind(
        Moment.ANSWER,
        {"retry_delay": "34s", "per_day": False, "retry_after": None, "http_status": None},
        anywhere=True,
    ),
    "no_credit": Kind(Moment.ANSWER, {"http_status": None}, anywhere=True),
    "bad_key": Kind(Moment.ANSWER, {"http_status": None}, anywhere=True),
    "maintenance": Kind(Moment.ANSWER, {"http_status": None}, anywhere=True),
    "server_error": Kind(Moment.ANSWER, {"status": 500}, anywhere=True),
    # charged, and the connection closed without a word
    "lost_answer": Kind(Moment.ANSWER, anywhere=True),
    # charged at once, answered after this long to whoever still waits
    "hang": Kind(Moment.ANSWER, {"seconds": 300.0}, anywhere=True),
    # read, not charged, and the connection closed without a word
    "not_charged_drop": Kind(Moment.ANSWER, anywhere=True),
    "stuck": Kind(Moment.ANSWER),
    "thought_only": Kind(Moment.ANSWER),
    "no_image": Kind(Moment.ANSWER, {"reason": "NO_IMAGE"}),
    "missing_parts": Kind(Moment.ANSWER),
    "no_candidates": Kind(Moment.ANSWER),
    "success_without_task_id": Kind(Moment.ANSWER),
    # downloads: how many downloads are spoilt, null for all
    "html_file": Kind(Moment.PICTURE, _DOWNLOADS),
    "truncated_file": Kind(Moment.PICTURE, _DOWNLOADS),
    "wrong_file": Kind(Moment.PICTURE, _DOWNLOADS),
    "wrong_size": Kind(Moment.PICTURE, {"downloads": None, "width": 640, "height": 360}),
    "missing_file": Kind(Moment.PICTURE, _DOWNLOADS),
    "expired_url": Kind(Moment.PICTURE),
    "duplicate_callback": Kind(Moment.WEBHOOK, {"copies": 2}),
    "lost_callback": Kind(Moment.WEBHOOK),
    "early_callback": Kind(Moment.WEBHOOK),
    # this long after the picture is ready
    "late_callback": Kind(Moment.WEBHOOK, {"seconds": 5.0}),
    # not even read: the connection is reset
    "reset": Kind(Moment.CONNECTION, anywhere=True),
}
_KEYS = frozenset({"match", "fault", "times", "probability", "seed", "for_seconds", "fired"})
_MATCH_KEYS = frozenset({"provider", "prompt_contains", "route"})


@dataclass
class Rule:
    """One scripted fault; `fired` counts how often it struck."""

    fault: str
    provider: str | None = None
    prompt_contains: str | None = None
    route: str | None = None
    times: int | None = None
    probability: float = 1.0
    seed: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    fired: int = 0
    for_seconds: float | None = None

    def __post_init__(self) -> None:
        kind = CATALOGUE.get(self.fault)
        if kind is None:
            raise _invalid("fault", f"{self.fault!r} is no fault", f"Use one of {', '.join(CATALOGUE)}.")
        unknown = sorted(set(self.params) - set(kind.defaults))
        if unknown:
            takes = ", ".join(kind.defaults) or "none"
            raise _invalid(unknown[0], f"{self.fault} has no such parameter", f"It takes: {takes}.")
        if self.route in ROLES - {SUBMIT} and not kind.anywhere:
            raise _invalid("match.route", f"{self.fault} strikes paid calls alone", "Leave the route out.")
        if kind.moment is Moment.CONNECTION and self.route == FILE:
            raise _invalid("match.route", f"{self.fault} strikes the providers' own routes", "Use another route.")
        if kind.moment is Moment.CONNECTION and self.prompt_contains is not None:
            raise _invalid("match.prompt_contains", f"{self.fault} strikes before a prompt is read", "Leave it out.")
        self.params = {**kind.defaults, **self.params}
        self.restart()

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Rule:
        """From JSON; InvalidRequest names what is wrong with it."""
        if not isinstance(document, Mapping) or "fault" not in document:
            raise _invalid("fault", "a rule needs a fault", f"Use one of {', '.join(CATALOGUE)}.")
        match = document.get("match") or {}
        wrong = sorted(set(match) - _MATCH_KEYS)
        if wrong:
            raise _invalid(f"match.{wrong[0]}", "cannot be matched", f"Match {', '.join(sorted(_MATCH_KEYS))}.")
        return cls(
            fault=str(document["fault"]),
            times=document.get("times"),
            probability=float(document.get("probability", 1.0)),
            seed=int(document.get("seed", 0)),
            for_seconds=None if document.get("for_seconds") is None else float(document["for_seconds"]),
            params={name: value for name, value in document.items() if name not in _KEYS},
            **match,
        )

    def document(self) -> dict[str, Any]:
        """As `/__faults` tells it."""
        match = {name: getattr(self, name) for name in sorted(_MATCH_KEYS) if getattr(self, name) is not None}
        return {
            "match": match,
            "fault": self.fault,
            "times": self.times,
            "probability": self.probability,
            "seed": self.seed,
            "for_seconds": self.for_seconds,
            **self.params,
            "fired": self.fired,
        }

    def matches(self, provider: str, role: str, path: str, prompt: str, now: float) -> bool:
        """Whether this request is one the rule is about; the dice are not thrown yet."""
        if self._over(now):
            return False
        if self.provider is not None and self.provider != provider:
            return False
        if self.prompt_contains is not None and self.prompt_contains.lower() not in prompt.lower():
            return False
        if self.route is None or self.route in ROLES:
            return self.route == ANY or role == (self.route or SUBMIT)
        return self.route in path

    def _over(self, now: float) -> bool:
        """Whether it has struck as often, or as long, as it shall."""
        if self.times is not None and self.fired >= self.times:
            return True
        if self._first is None or self.for_seconds is None:
            return False
        return now - self._first >= self.for_seconds

    def restart(self) -> None:
        """As if it had never struck."""
        self.fired = 0
        self._first: float | None = None
        self._random = Random(self.seed)

    def strikes(self, now: float) -> bool:
        """Throws the dice and counts a hit."""
        if self.probability < 1 and self._random.random() >= self.probability:
            return False
        self._first = now if self._first is None else self._first
        self.fired += 1
        return True


class Faults:
    """The script. Thread-safe; `supported` tells which faults each provider's API knows."""

    def __init__(
        self,
        supported: Mapping[str, frozenset[str]],
        start: Iterable[Rule | Mapping[str, Any]] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._supported, self._clock = supported, clock
        self._lock = Lock()
        self._start = tuple(start)
        self._rules: list[Rule] = []
        self.reset()

    def add(self, rules: Iterable[Rule | Mapping[str, Any]]) -> list[Rule]:
        """Appends rules, all or none."""
        read = [rule if isinstance(rule, Rule) else Rule.read(rule) for rule in rules]
        for rule in read:
            self._check(rule)
        with self._lock:
            self._rules.extend(read)
        return read

    def clear(self) -> None:
        """No faults at all."""
        with self._lock:
            self._rules.clear()

    def reset(self) -> None:
        """Back to the script it was started with, as if nothing had struck."""
        self.clear()
        for rule in self._start:
            if isinstance(rule, Rule):
                rule.restart()
        self.add(self._start)

    def documents(self) -> list[dict[str, Any]]:
        """All rules with their hits."""
        with self._lock:
            return [rule.document() for rule in self._rules]

    def first(self, moment: Moment, provider: str, role: str, path: str, prompt: str = "") -> Rule | None:
        """The first rule of this moment that strikes the request, or None."""
        return next(iter(self._struck(moment, provider, role, path, prompt, only_first=True)), None)

    def all(self, moment: Moment, provider: str, role: str, path: str, prompt: str = "") -> dict[str, Rule]:
        """Every rule of this moment that strikes, by fault."""
        struck = self._struck(moment, provider, role, path, prompt, only_first=False)
        return {rule.fault: rule for rule in struck}

    def _struck(
        self, moment: Moment, provider: str, role: str, path: str, prompt: str, *, only_first: bool
    ) -> list[Rule]:
        if not self._rules:
            return []
        struck: list[Rule] = []
        now = self._clock()
        with self._lock:
            for rule in self._rules:
                if CATALOGUE[rule.fault].moment is not moment or rule.fault not in self._supported[provider]:
                    continue
                if rule.matches(provider, role, path, prompt, now) and rule.strikes(now):
                    struck.append(rule)
                    if only_first:
                        break
        return struck

    def _check(self, rule: Rule) -> None:
        if rule.provider is None:
            return
        known = self._supported.get(rule.provider)
        if known is None:
            raise _invalid("match.provider", f"{rule.provider!r} is not emulated", f"Use {', '.join(self._supported)}.")
        if rule.fault not in known:
            raise _invalid("fault", f"{rule.provider} has no {rule.fault}", f"It knows {', '.join(sorted(known))}.")


def _invalid(name: str, reason: str, remedy: str) -> InvalidRequest:
    return InvalidRequest.of(name, reason, remedy)
