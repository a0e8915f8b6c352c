"""One suite for every provider, over HTTP against the emulator, faults included."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image

from imagegen.catalog import load
from imagegen.clock import SystemClock
from imagegen.emulator import Emulator
from imagegen.errors import ArtifactExpired, BadArtifact, ImagegenError, Temporary
from imagegen.providers import gemini, nanobanana
from imagegen.providers.base import (
    UNKNOWN_ORDER,
    Accepted,
    Delivered,
    Failed,
    InputImage,
    NotSent,
    Order,
    Provider,
    Ready,
    Rejected,
    Running,
    Submission,
    Unknown,
)
from imagegen.providers.registry import MAKERS
from imagegen.transport import Transport

CATALOG = load()
MODELS = {"nanobanana": "nano-banana-2", "gemini": "nano-banana-2.1"}
MAX = 64 * 1024 * 1024
PATIENCE = 10.0


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """One emulator with flat pictures; each test starts with empty books."""
    with Emulator(plain=True) as running:
        yield running


@pytest.fixture(autouse=True)
def _clean(emulator: Emulator) -> None:
    emulator.reset()


@pytest.fixture(scope="module")
def transport() -> Iterator[Transport]:
    """One transport for all, as in a worker."""
    with closing(Transport()) as transport:
        yield transport


@pytest.fixture(params=sorted(MAKERS))
def provider(request: pytest.FixtureRequest, emulator: Emulator, transport: Transport) -> Provider:
    """Each provider, pointed at the emulator."""
    return made(request.param, emulator.url, transport)


def made(name: str, url: str, transport: Transport) -> Provider:
    """A provider at an address."""
    return MAKERS[name](transport=transport, catalog=CATALOG, clock=SystemClock(), url=url, key=lambda: "emulated")


def order(provider: Provider, **wanted: Any) -> Order:
    """An everyday order for the provider's usual model."""
    usual: dict[str, Any] = {
        "prompt": "a red fox in the snow",
        "model": MODELS[provider.name],
        "ratio": "16:9",
        "tier": "1K",
        "format": "jpeg",
    }
    return Order(**{**usual, **wanted})


def bought(provider: Provider, transport: Transport, **wanted: Any) -> bytes:
    """The picture of an order, however the provider gives it."""
    answer = provider.submit(order(provider, **wanted), callback_url=None)
    if isinstance(answer, Delivered):
        return answer.data
    assert isinstance(answer, Accepted)
    return transport.fetch(ready(provider, answer).url, max_bytes=MAX, total=10).data


def ready(provider: Provider, accepted: Accepted) -> Ready:
    """The finished task, asked for until it is."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        progress = provider.poll(accepted.provider_job_id)
        if isinstance(progress, Ready):
            return progress
        assert progress == Running()
        time.sleep(0.01)
    raise AssertionError("the task did not finish")


def picture(color: str) -> bytes:
    """A small PNG."""
    target = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(target, "PNG")
    return target.getvalue()


def charges(emulator: Emulator) -> int:
    """How often money was taken."""
    count: int = emulator.ledger()["count"]
    return count


@pytest.mark.parametrize(("ratio", "tier"), [("16:9", "1K"), ("1:1", "2K"), ("9:16", "1K")])
def test_an_order_becomes_the_picture_the_catalog_promises(
    provider: Provider, transport: Transport, emulator: Emulator, ratio: str, tier: str
) -> None:
    """One order, one charge, and real pixels as in the catalog's table."""
    data = bought(provider, transport, ratio=ratio, tier=tier)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        offer = CATALOG.offer(provider.name, MODELS[provider.name])
        assert offer is not None
        assert image.size == offer.model.pixels[ratio][tier]
    assert charges(emulator) == 1


def test_every_model_that_lives_can_be_bought(provider: Provider, transport: Transport, emulator: Emulator) -> None:
    """Each offer of the catalog that has not ended is understood by the provider's API."""
    today = SystemClock().now().date()
    alive = [offer for offer in CATALOG.offers if offer.provider == provider.name and not offer.dead(today)]
    for offer in alive:
        tier = offer.tiers[-1] if offer.sends_tier else offer.tiers[0]
        assert bought(provider, transport, model=offer.model.name, tier=tier if tier != "4K" else "2K", seed=3)
    assert charges(emulator) == len(alive)


def test_the_actual_price_is_what_the_books_say(provider: Provider, emulator: Emulator) -> None:
    """What we believe to have paid is what was charged, to a millionth of a dollar, and never above the estimate."""
    answer = provider.submit(order(provider, prompt="a fox " * 40), callback_url=None)
    assert isinstance(answer, Accepted | Delivered)
    assert answer.actual is not None
    assert answer.actual == pytest.approx(Decimal(emulator.ledger()["total"]), abs=Decimal("0.000001"))


def test_an_edit_takes_source_mask_and_references(provider: Provider, transport: Transport, emulator: Emulator) -> None:
    """Pictures reach the provider in the form it takes: as bytes, or as addresses it can fetch."""
    images = [InputImage(content_type="image/png", data=picture(color)) for color in ("red", "white", "blue")]
    if not provider.takes_bytes:
        images = []
        for prompt in ("one", "two", "three"):
            accepted = provider.submit(order(provider, prompt=prompt), callback_url=None)
            assert isinstance(accepted, Accepted)
            images.append(InputImage(content_type="image/jpeg", url=ready(provider, accepted).url))
    before = charges(emulator)
    assert bought(provider, transport, source=images[0], mask=images[1], references=(images[2],), format="png")
    assert charges(emulator) == before + 1


def test_a_lost_answer_is_unknown_and_never_sent_twice(provider: Provider, emulator: Emulator) -> None:
    """The charged request whose answer is lost: one POST, one charge, and we know that we do not know."""
    emulator.fault("lost_answer", times=1)
    answer = provider.submit(order(provider), callback_url=None)
    assert isinstance(answer, Unknown)
    assert answer.error.code == "SUBMISSION_UNKNOWN"
    assert answer.error.billed == "unknown"
    assert (charges(emulator), emulator.ledger()["submissions"]) == (1, 1)


def test_a_dropped_request_is_unknown_as_well(provider: Provider, emulator: Emulator) -> None:
    """From outside a drop before the charge looks the same, and is treated the same."""
    emulator.fault("not_charged_drop", times=1)
    assert isinstance(provider.submit(order(provider), callback_url=None), Unknown)
    assert charges(emulator) == 0


def test_a_hanging_provider_ends_at_the_total(
    provider: Provider, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that never answers holds a worker for the total deadline and no longer."""
    monkeypatch.setattr(nanobanana, "ORDER_TOTAL", 1.0)
    monkeypatch.setattr(gemini, "SUBMIT_TOTAL", 1.0)
    emulator.fault("hang", times=1, seconds=6.0)
    began = time.monotonic()
    assert isinstance(provider.submit(order(provider), callback_url=None), Unknown)
    assert time.monotonic() - began < 5


def test_a_closed_port_is_not_sent(provider: Provider, transport: Transport, emulator: Emulator) -> None:
    """Nobody listens: nothing left, nothing can have been charged."""
    away = made(provider.name, "http://127.0.0.1:9", transport)
    answer = away.submit(order(provider), callback_url=None)
    assert isinstance(answer, NotSent)
    assert (answer.error.retryable, answer.error.billed) == (True, "no")


@pytest.mark.parametrize(
    ("fault", "params", "codes"),
    [
        ("rate_limit", {}, {"RATE_LIMIT"}),
        ("bad_key", {}, {"AUTH_ERROR"}),
        ("no_credit", {}, {"INSUFFICIENT_CREDIT"}),
        ("maintenance", {}, {"TEMPORARY"}),
        ("refusal", {}, {"CONTENT_REFUSED"}),
    ],
)
def test_a_refusal_is_told_and_costs_nothing(
    provider: Provider, emulator: Emulator, fault: str, params: dict[str, Any], codes: set[str]
) -> None:
    """Each kind of refusal has one code for every provider, and the books agree that nothing was charged."""
    emulator.fault(fault, times=1, **params)
    answer = provider.submit(order(provider), callback_url=None)
    assert isinstance(answer, Rejected)
    assert answer.error.code in codes
    charged = Decimal(emulator.ledger()["total"])
    assert (answer.actual or 0) == pytest.approx(charged, abs=Decimal("0.000001"))
    assert isinstance(provider.submit(order(provider), callback_url=None), Accepted | Delivered)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_server_error_is_unknown(provider: Provider, emulator: Emulator, status: int) -> None:
    """A 5xx may come after the drawing."""
    emulator.fault("server_error", times=1, status=status)
    assert isinstance(provider.submit(order(provider), callback_url=None), Unknown)


SPECIAL: list[tuple[str, str, dict[str, Any], type[Submission], str]] = [
    ("nanobanana", "success_without_task_id", {}, Unknown, "SUBMISSION_UNKNOWN"),
    ("gemini", "thought_only", {}, Rejected, "GENERATION_FAILED"),
    ("gemini", "no_image", {}, Rejected, "GENERATION_FAILED"),
    ("gemini", "refusal", {"charged": True}, Rejected, "CONTENT_REFUSED"),
    ("gemini", "refusal", {"blocked": True, "reason": "PROHIBITED_CONTENT"}, Rejected, "CONTENT_REFUSED"),
    ("gemini", "rate_limit", {"per_day": True}, Rejected, "QUOTA_EXHAUSTED"),
    ("gemini", "bad_key", {"http_status": 403}, Rejected, "AUTH_ERROR"),
]


@pytest.mark.parametrize(
    ("name", "fault", "params", "kind", "code"), SPECIAL, ids=[f"{row[0]}-{row[1]}-{row[4]}" for row in SPECIAL]
)
def test_what_one_api_alone_can_do(
    name: str,
    fault: str,
    params: dict[str, Any],
    kind: type[Submission],
    code: str,
    emulator: Emulator,
    transport: Transport,
) -> None:
    """The peculiar answers of each API end in the common outcomes, with the charge that the books show."""
    provider = made(name, emulator.url, transport)
    emulator.fault(fault, provider=name, times=1, **params)
    answer = provider.submit(order(provider, model="nano-banana-pro"), callback_url=None)
    assert isinstance(answer, kind)
    assert not isinstance(answer, Accepted | Delivered)
    assert answer.error.code == code
    charged = Decimal(emulator.ledger()["total"])
    if isinstance(answer, Rejected):
        assert (answer.actual or 0) >= charged - Decimal("0.000001")
        assert (answer.error.billed != "no") or charged == 0


@pytest.mark.parametrize("fault", ["missing_parts", "no_candidates"])
def test_holes_in_a_gemini_answer_never_crash(fault: str, emulator: Emulator, transport: Transport) -> None:
    """An answer with something missing is a refusal or unknown, never a picture and never an exception."""
    provider = made("gemini", emulator.url, transport)
    emulator.fault(fault, provider="gemini", times=1)
    assert isinstance(provider.submit(order(provider), callback_url=None), Rejected | Unknown)


@pytest.fixture
def accept(emulator: Emulator, transport: Transport) -> Callable[..., tuple[Provider, Accepted]]:
    """Orders a picture at the asynchronous provider under a fault."""

    def accept(fault: str, **params: Any) -> tuple[Provider, Accepted]:
        provider = made("nanobanana", emulator.url, transport)
        emulator.fault(fault, provider="nanobanana", times=1, **params)
        answer = provider.submit(order(provider), callback_url=None)
        assert isinstance(answer, Accepted)
        return provider, answer

    return accept


@pytest.mark.parametrize(("flag", "code", "expected"), [(2, 500, "GENERATION_FAILED"), (3, 400, "CONTENT_REFUSED")])
def test_a_task_that_fails_later_is_told(
    accept: Callable[..., tuple[Provider, Accepted]], flag: int, code: int, expected: str
) -> None:
    """Taken first, failed afterwards: the provider's flag and code decide."""
    provider, accepted = accept("async_failure", flag=flag, code=code)
    failed = provider.poll(accepted.provider_job_id)
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.billed) == (expected, "unknown")


def test_a_task_that_never_ends_stays_running(accept: Callable[..., tuple[Provider, Accepted]]) -> None:
    """A stuck task is running, for the job's deadline to end."""
    provider, accepted = accept("stuck")
    assert provider.poll(accepted.provider_job_id) == Running()


def test_an_expired_address_is_replaced_by_asking_again(
    accept: Callable[..., tuple[Provider, Accepted]], transport: Transport
) -> None:
    """The first address answers no more; `record-info` gives a fresh one for the same paid picture."""
    provider, accepted = accept("expired_url")
    with pytest.raises(ArtifactExpired):
        transport.fetch(ready(provider, accepted).url, max_bytes=MAX, total=5)
    assert transport.fetch(ready(provider, accepted).url, max_bytes=MAX, total=5).data


def test_a_truncated_file_is_noticed(accept: Callable[..., tuple[Provider, Accepted]], transport: Transport) -> None:
    """A file shorter than announced is never taken for a picture."""
    provider, accepted = accept("truncated_file", downloads=1)
    url = ready(provider, accepted).url
    try:
        data = transport.fetch(url, max_bytes=MAX, total=5).data
    except BadArtifact:
        return
    with pytest.raises(OSError, match="truncated"), Image.open(io.BytesIO(data)) as image:
        image.load()


@pytest.mark.parametrize(
    ("fault", "code"), [("rate_limit", "RATE_LIMIT"), ("bad_key", "AUTH_ERROR"), ("server_error", "TEMPORARY")]
)
def test_a_failed_question_leaves_the_task_alone(
    fault: str, code: str, emulator: Emulator, transport: Transport
) -> None:
    """Trouble while polling is an error of the question; the next question finds the picture."""
    provider = made("nanobanana", emulator.url, transport)
    accepted = provider.submit(order(provider), callback_url=None)
    assert isinstance(accepted, Accepted)
    emulator.fault(fault, provider="nanobanana", route="poll", times=1)
    with pytest.raises(ImagegenError) as caught:
        provider.poll(accepted.provider_job_id)
    assert caught.value.code == code
    assert ready(provider, accepted).url


def test_an_unknown_task_is_asked_for_again_later(emulator: Emulator, transport: Transport) -> None:
    """A task the provider does not know (yet) is no failed task."""
    provider = made("nanobanana", emulator.url, transport)
    with pytest.raises(ImagegenError) as caught:
        provider.poll("nobody")
    assert caught.value.code == "TEMPORARY"


def test_credit_is_told_or_not_known(provider: Provider) -> None:
    """A balance is a decimal, or None where the API has none."""
    credit = provider.credit()
    assert credit is None or credit > 0
    assert (credit is None) == (provider.name == "gemini")


def test_an_order_of_nobody_is_told_from_one_that_is_not_ready(
    accept: Callable[..., tuple[Provider, Accepted]],
) -> None:
    """Asked for an id that the account does not have, the provider says so: a callback that names it proves nothing."""
    provider, _ = accept("stuck")
    with pytest.raises(Temporary) as caught:
        provider.poll("task-of-nobody")
    assert caught.value.details[UNKNOWN_ORDER] is True


def test_what_is_no_callback_names_no_order(provider: Provider) -> None:
    """Bodies of any shape are read without an error."""
    bodies: tuple[Any, ...] = (None, 7, "t", [], {}, {"data": None}, {"data": []}, {"data": {"taskId": ["t"]}})
    for body in bodies:
        assert provider.callback_task(body) is None
