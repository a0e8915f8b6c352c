"""The emulator's script of faults, its latency and its books."""

from __future__ import annotations

import statistics
from decimal import Decimal
from typing import Any

import pytest

from imagegen.emulator.faults import CREDIT, POLL, SUBMIT, Faults, Moment, Rule
from imagegen.emulator.latency import Latency
from imagegen.emulator.ledger import Charge, Ledger
from imagegen.emulator.outbound import is_loopback
from imagegen.emulator.world import SUPPORTED, read_rules
from imagegen.errors import InvalidRequest


def script(*rules: Any) -> Faults:
    """A script over the APIs there are."""
    return Faults(SUPPORTED, rules)


def hits(faults: Faults, count: int, prompt: str = "a fox") -> list[str | None]:
    """What strikes each of `count` paid calls to nanobanana."""
    found = [
        faults.first(Moment.ANSWER, "nanobanana", SUBMIT, "/api/v1/nanobanana/generate-2", prompt) for _ in range(count)
    ]
    return [rule.fault if rule else None for rule in found]


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"fault": "explode"}, "fault"),
        ({}, "fault"),
        ({"fault": "refusal", "match": {"model": "x"}}, "match.model"),
        ({"fault": "refusal", "match": {"route": "poll"}}, "match.route"),
        ({"fault": "refusal", "match": {"provider": "acme"}}, "match.provider"),
        ({"fault": "stuck", "match": {"provider": "gemini"}}, "fault"),
        ({"fault": "hang", "minutes": 3}, "minutes"),
        ({"fault": "refusal", "match": {"route": "any"}}, "match.route"),
        ({"fault": "reset", "match": {"prompt_contains": "fox"}}, "match.prompt_contains"),
        ({"fault": "reset", "match": {"route": "file"}}, "match.route"),
    ],
)
def test_a_rule_that_could_never_strike_is_refused(rule: dict[str, Any], field: str) -> None:
    """A misspelt fault, key, parameter or provider names itself instead of silently doing nothing."""
    with pytest.raises(InvalidRequest) as caught:
        script(rule)
    assert caught.value.problems[0]["field"] == field


def test_times_and_order_make_a_sequence() -> None:
    """Rules strike in their order, each as often as it says, one answer fault per request."""
    faults = script({"fault": "rate_limit", "times": 2}, {"fault": "refusal", "times": 1})
    assert hits(faults, 4) == ["rate_limit", "rate_limit", "refusal", None]


def test_a_prompt_and_a_provider_can_be_matched() -> None:
    """prompt_contains ignores case; a rule for gemini leaves nanobanana alone."""
    faults = script({"fault": "maintenance", "match": {"prompt_contains": "DRAGON"}})
    assert hits(faults, 1, "a small dragon") == ["maintenance"]
    assert hits(faults, 1) == [None]
    assert hits(script({"fault": "maintenance", "match": {"provider": "gemini"}}), 1) == [None]


def test_polls_are_left_alone_unless_named() -> None:
    """A rule without a route looks at paid calls only."""
    faults = script({"fault": "server_error"})
    assert faults.first(Moment.ANSWER, "nanobanana", POLL, "/api/v1/nanobanana/record-info") is None
    assert hits(faults, 1) == ["server_error"]


def test_chance_is_seeded() -> None:
    """The same seed strikes the same requests, about as often as the probability says; reset starts it anew."""
    rule = {"fault": "maintenance", "probability": 0.3, "seed": 7}
    first, second = script(rule), script(rule)
    struck = hits(first, 400)
    assert struck == hits(second, 400)
    assert 80 < struck.count("maintenance") < 160
    first.reset()
    assert hits(first, 400) == struck


def test_a_provider_can_be_down_for_a_while() -> None:
    """A rule with `for_seconds` and route `any` strikes every route from its first hit on, until its time is over."""
    now = [100.0]
    rule = {"fault": "server_error", "match": {"provider": "nanobanana", "route": "any"}, "for_seconds": 30}
    faults = Faults(SUPPORTED, [rule], lambda: now[0])

    def struck(provider: str, role: str) -> bool:
        return faults.first(Moment.ANSWER, provider, role, "/x") is not None

    now[0] = 500.0
    assert [struck("nanobanana", SUBMIT), struck("nanobanana", POLL), struck("gemini", SUBMIT)] == [True, True, False]
    now[0] = 529.9
    assert struck("nanobanana", CREDIT)
    now[0] = 530.0
    assert not struck("nanobanana", SUBMIT)
    faults.reset()
    assert struck("nanobanana", SUBMIT)


def test_reset_goes_back_to_the_first_script() -> None:
    """Rules added later go, those it was started with may strike again; clear removes all."""
    faults = script(Rule("refusal", times=1))
    faults.add([{"fault": "maintenance"}])
    assert hits(faults, 2) == ["refusal", "maintenance"]
    faults.reset()
    assert hits(faults, 2) == ["refusal", None]
    faults.clear()
    assert faults.documents() == []


def test_a_bad_rule_adds_none_of_its_list() -> None:
    """A script is taken whole or not at all."""
    faults = script()
    with pytest.raises(InvalidRequest):
        faults.add([{"fault": "refusal"}, {"fault": "nonsense"}])
    assert faults.documents() == []


def test_a_rule_tells_itself_as_it_was_given() -> None:
    """A rule's document reads back as the same rule, with its hits beside it."""
    faults = script({"fault": "hang", "match": {"route": "poll"}, "seconds": 5, "times": 3, "for_seconds": 9})
    document = faults.documents()[0]
    assert (document["match"], document["seconds"], document["fired"]) == ({"route": "poll"}, 5, 0)
    assert read_rules(document)[0].document() == document


@pytest.mark.parametrize("wrong", ["refusal", 3, [3]])
def test_a_script_is_a_list_of_rules(wrong: Any) -> None:
    """Anything else is refused with a remedy."""
    with pytest.raises(InvalidRequest):
        read_rules(wrong)


def test_latency_is_constant_or_seeded() -> None:
    """A number stays; lognormal has its median and repeats itself with the same seed."""
    assert [Latency("2.5").sample() for _ in range(3)] == [2.5] * 3
    spread, again = Latency("lognormal:8:0.5", seed=1), Latency("lognormal:8:0.5", seed=1)
    samples = [spread.sample() for _ in range(2000)]
    assert samples == [again.sample() for _ in range(2000)]
    assert 7.5 < statistics.median(samples) < 8.5
    assert max(samples) > 20


@pytest.mark.parametrize("wrong", ["fast", "-1", "lognormal:8", "lognormal:a:b", "nan", "inf", "1:2"])
def test_a_wrong_latency_is_refused(wrong: str) -> None:
    """The error names the field and shows how it is written."""
    with pytest.raises(InvalidRequest, match="lognormal:MEDIAN:SIGMA"):
        Latency(wrong)


def test_the_books_add_up_exactly() -> None:
    """Amounts are decimal strings without rounding; the total is their sum, and reset empties everything."""
    ledger = Ledger()
    for amount in ("0.1", "0.2", "0.000001"):
        ledger.charge(Charge("id", "gemini", "m", Decimal(amount), "p", None, 0.0))
    ledger.count("polls")
    ledger.asked("GET /x")
    document = ledger.document()
    assert [charge["amount"] for charge in document["charges"]] == ["0.1", "0.2", "0.000001"]
    assert (document["count"], document["total"], document["polls"]) == (3, "0.300001", 1)
    assert document["charges"][0]["at"] == "1970-01-01T00:00:00Z"
    ledger.reset()
    empty = ledger.document()
    assert (empty["count"], empty["total"], empty["polls"], empty["requests"]) == (0, "0", 0, {})


@pytest.mark.parametrize(
    ("host", "mine"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("10.0.0.1", False),
     ("localhost.example.com", False), ("example.com", False)],
)  # fmt: skip
def test_only_this_machine_is_asked(host: str, mine: bool) -> None:
    """Loopback numbers and the name localhost are ours; private networks and look-alikes are not."""
    assert is_loopback(host) is mine
