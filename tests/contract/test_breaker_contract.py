"""One suite for every circuit breaker: in memory, and on a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from imagegen.errors import Temporary
from imagegen.ports import Breaker
from imagegen.testing.breaker import MemoryBreaker
from imagegen.testing.memory import ManualClock
from storage.breaker import RedisBreaker

FAILURES, RESET = 3, 30


@pytest.fixture
def clock() -> ManualClock:
    """A clock that only the test moves."""
    return ManualClock()


@pytest.fixture(params=["memory", "redis"])
def breaker(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Breaker]:
    """A breaker of each kind, every circuit closed."""
    if request.param == "memory":
        yield MemoryBreaker(clock, failures=FAILURES, reset_after=RESET)
        return
    namespace = f"t{abs(hash(request.node.nodeid))}"
    redis = RedisBreaker(request.getfixturevalue("redis_url"), namespace, clock, failures=FAILURES, reset_after=RESET)
    yield redis
    redis.close()


def report(breaker: Breaker, *answers: bool, provider: str = "gemini", operation: str = "submit") -> None:
    """One call per answer, reported as such."""
    for ok in answers:
        with breaker.call(provider, operation) as tell:
            tell(ok)


def opened(breaker: Breaker) -> Temporary:
    """The refusal of a circuit that must be open."""
    with pytest.raises(Temporary) as caught, breaker.call("gemini", "submit"):
        pytest.fail("a call was let through")
    return caught.value


def test_failures_in_a_row_open_it(breaker: Breaker) -> None:
    """The third failure opens the circuit: the next call is refused unsent, with the time to wait."""
    report(breaker, False, False)
    assert breaker.state("gemini", "submit") == "closed"
    report(breaker, False)
    assert breaker.state("gemini", "submit") == "open"
    refusal = opened(breaker)
    assert refusal.details["reason"] == "breaker"
    assert refusal.retryable
    assert 0 < (refusal.retry_after or 0) <= RESET


def test_a_success_forgets_failures(breaker: Breaker) -> None:
    """Only failures in a row count."""
    report(breaker, False, False, True, False, False)
    assert breaker.state("gemini", "submit") == "closed"


def test_no_report_counts_as_nothing(breaker: Breaker) -> None:
    """A call that says nothing (a refused prompt) neither opens the circuit nor clears its failures."""
    report(breaker, False, False)
    for _ in range(5):
        with breaker.call("gemini", "submit"):
            pass
    assert breaker.state("gemini", "submit") == "closed"
    report(breaker, False)
    assert breaker.state("gemini", "submit") == "open"


def test_an_error_inside_passes_unchanged_and_counts_as_nothing(breaker: Breaker) -> None:
    """The breaker neither swallows nor replaces what the caller raises."""
    for _ in range(FAILURES + 1):
        with pytest.raises(KeyError), breaker.call("gemini", "submit"):
            raise KeyError("mine")
    assert breaker.state("gemini", "submit") == "closed"


def test_circuits_are_apart(breaker: Breaker) -> None:
    """Another provider, and another operation of the same one, go on."""
    report(breaker, False, False, False)
    report(breaker, True, provider="nanobanana")
    report(breaker, True, operation="poll")
    assert breaker.state("gemini", "submit") == "open"
    assert breaker.state("nanobanana", "submit") == breaker.state("gemini", "poll") == "closed"


def test_after_its_rest_one_probe_closes_it(breaker: Breaker, clock: ManualClock) -> None:
    """When the rest is over one call goes through, others are refused meanwhile; its success closes the circuit."""
    report(breaker, False, False, False)
    clock.advance(RESET - 2)
    opened(breaker)
    clock.advance(3)
    assert breaker.state("gemini", "submit") == "half-open"
    with breaker.call("gemini", "submit") as tell:
        opened(breaker)
        tell(True)
    assert breaker.state("gemini", "submit") == "closed"
    report(breaker, False, False)
    assert breaker.state("gemini", "submit") == "closed"


def test_a_failed_probe_opens_it_anew(breaker: Breaker, clock: ManualClock) -> None:
    """A failing probe costs another whole rest."""
    report(breaker, False, False, False)
    clock.advance(RESET + 1)
    report(breaker, False)
    assert breaker.state("gemini", "submit") == "open"
    clock.advance(RESET - 2)
    opened(breaker)
    clock.advance(3)
    report(breaker, True)
    assert breaker.state("gemini", "submit") == "closed"


def test_a_probe_without_a_report_hands_on(breaker: Breaker, clock: ManualClock) -> None:
    """A probe that learned nothing (its prompt was refused) leaves the decision to the next call."""
    report(breaker, False, False, False)
    clock.advance(RESET + 1)
    with pytest.raises(KeyError), breaker.call("gemini", "submit"):
        raise KeyError("mine")
    assert breaker.state("gemini", "submit") == "half-open"
    report(breaker, True)
    assert breaker.state("gemini", "submit") == "closed"


def test_a_late_report_of_an_older_call_decides_nothing(breaker: Breaker, clock: ManualClock) -> None:
    """A call from before the opening, reporting after it, neither closes nor reopens the circuit."""
    with ExitStack() as calls:
        late = [calls.enter_context(breaker.call("gemini", "submit")) for _ in range(4)]
        report(breaker, False, False, False)
        late[0](True)
        assert breaker.state("gemini", "submit") == "open"
        clock.advance(RESET + 1)
        with breaker.call("gemini", "submit") as tell:
            late[1](False)
            late[2](True)
            assert breaker.state("gemini", "submit") == "half-open"
            tell(True)
        late[3](False)
    assert breaker.state("gemini", "submit") == "closed"


def test_a_probe_that_was_reset_away_decides_nothing(breaker: Breaker, clock: ManualClock) -> None:
    """The fencing token: after a reset the old probe's failure does not open the circuit."""
    report(breaker, False, False, False)
    clock.advance(RESET + 1)
    with breaker.call("gemini", "submit") as tell:
        breaker.reset("gemini", "submit")
        tell(False)
    assert breaker.state("gemini", "submit") == "closed"


def test_reset_closes_it(breaker: Breaker) -> None:
    """An operator's reset lets calls through at once, with a clean count."""
    report(breaker, False, False, False)
    breaker.reset("gemini", "submit")
    report(breaker, False, False)
    assert breaker.state("gemini", "submit") == "closed"


def test_opened_by_hand_it_rests_and_is_probed(breaker: Breaker, clock: ManualClock) -> None:
    """An operator's `open` is like failures in a row: refused with the time to wait, then one probe closes it."""
    breaker.open("gemini", "submit")
    assert breaker.state("gemini", "submit") == "open"
    assert breaker.state("gemini", "poll") == breaker.state("nanobanana", "submit") == "closed"
    assert 0 < (opened(breaker).retry_after or 0) <= RESET
    clock.advance(RESET + 1)
    with breaker.call("gemini", "submit") as tell:
        opened(breaker)
        tell(True)
    assert breaker.state("gemini", "submit") == "closed"
    report(breaker, False, False)
    assert breaker.state("gemini", "submit") == "closed"


def test_opened_again_it_rests_anew(breaker: Breaker, clock: ManualClock) -> None:
    """Opening what is open begins its rest again."""
    breaker.open("gemini", "submit")
    clock.advance(RESET - 5)
    breaker.open("gemini", "submit")
    clock.advance(10)
    opened(breaker)
    assert breaker.state("gemini", "submit") == "open"


def test_a_probe_under_way_does_not_undo_an_open(breaker: Breaker, clock: ManualClock) -> None:
    """The fencing token: after an operator's `open` the old probe's success closes nothing."""
    report(breaker, False, False, False)
    clock.advance(RESET + 1)
    with breaker.call("gemini", "submit") as tell:
        breaker.open("gemini", "submit")
        tell(True)
    assert breaker.state("gemini", "submit") == "open"
    opened(breaker)


def test_a_call_under_way_does_not_undo_an_open(breaker: Breaker) -> None:
    """A call from before an operator's `open` may still end well: the circuit stays open."""
    with breaker.call("gemini", "submit") as tell:
        breaker.open("gemini", "submit")
        tell(True)
    assert breaker.state("gemini", "submit") == "open"


def test_it_tells_how_long_it_rests(breaker: Breaker, clock: ManualClock) -> None:
    """Seconds until the probe while it is open; 0 before and after."""
    assert breaker.rests("gemini", "submit") == 0
    breaker.open("gemini", "submit")
    assert RESET - 1 <= breaker.rests("gemini", "submit") <= RESET
    clock.advance(RESET + 1)
    assert breaker.rests("gemini", "submit") == 0
    breaker.open("gemini", "submit")
    breaker.reset("gemini", "submit")
    assert breaker.rests("gemini", "submit") == 0


def test_calls_run_side_by_side(breaker: Breaker) -> None:
    """No lock is held during a call: four calls are inside at once."""
    together = threading.Barrier(4, timeout=10)
    failures: list[BaseException] = []

    def call() -> None:
        try:
            with breaker.call("gemini", "submit") as tell:
                together.wait()
                tell(True)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failures
