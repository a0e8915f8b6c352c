"""Standard Webhooks: signatures as its reference has them, two secrets while they rotate, and what is refused."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from imagegen.client import Client
from imagegen.errors import InvalidRequest, NotServed
from imagegen.results import Batch, Job
from imagegen.settings import Settings
from imagegen.webhooks import Signer, event_body, verify

OLD, NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OTHER = "whsec_" + "b3RoZXI" * 6
JOB = {"jobId": str(uuid4()), "status": "completed", "publicUrl": "https://cdn.example/ä.png"}


def sent(
    secrets: list[str], document: Any = None, *, ago: float = 0, kind: str = "image.job.completed"
) -> tuple[bytes, dict[str, str]]:
    at = datetime.now(UTC) - timedelta(seconds=ago)
    body = event_body(kind, at, document or JOB)
    return body, Signer(secrets).headers("job_1_1_completed", body, at)


def test_signatures_are_those_of_the_reference() -> None:
    """The published example of the specification comes out byte for byte."""
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = Signer([OLD]).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', at)
    assert headers == {
        "Content-Type": "application/json",
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_signed_moment_is_the_same_in_every_zone() -> None:
    """A time with another offset signs as the same moment in UTC."""
    at = datetime.fromtimestamp(1614265330, UTC)
    there = at.astimezone(tz=datetime.fromisoformat("2021-01-01T00:00:00+05:00").tzinfo)
    assert Signer([OLD]).headers("m", b"{}", there) == Signer([OLD]).headers("m", b"{}", at)


def test_the_body_is_type_timestamp_and_document() -> None:
    """Exactly three keys, the event's own time, and every letter of the document."""
    at = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
    told = json.loads(event_body("image.job.failed", at, JOB))
    assert told == {"type": "image.job.failed", "timestamp": "2026-11-21T09:00:00.000Z", "data": JOB}


@pytest.mark.parametrize("mine", [[OLD], [NEW], [OTHER, NEW]], ids=["old", "new", "two"])
def test_while_secrets_rotate_either_one_verifies(mine: list[str]) -> None:
    """Both signatures are sent, and a receiver with the old or the new secret is content; its library is too."""
    body, headers = sent([OLD, NEW])
    assert len(headers["webhook-signature"].split(" ")) == 2
    event = verify(body, {name.title(): value for name, value in headers.items()}, mine)
    assert (event.id, event.type) == ("job_1_1_completed", "image.job.completed")
    assert isinstance(event.document, Job)
    assert event.document.public_url == JOB["publicUrl"]
    Webhook(mine[-1]).verify(body, headers)


def test_a_batch_comes_back_as_a_batch() -> None:
    """Its document has its members."""
    batch = {"batchId": str(uuid4()), "status": "partial", "jobs": [JOB]}
    event = verify(*sent([OLD], batch, kind="image.batch.partial"), [OLD])
    assert isinstance(event.document, Batch)
    assert [job.ok for job in event.document.jobs] == [True]


@pytest.mark.parametrize(
    ("change", "ago"),
    [
        ({}, 301.0),
        ({}, -301.0),
        ({"webhook-id": "another"}, 0.0),
        ({"webhook-timestamp": "soon"}, 0.0),
        ({"webhook-signature": "v1,AAAA"}, 0.0),
        ({"webhook-signature": "nonsense"}, 0.0),
        ({"webhook-signature": "v1,%%%"}, 0.0),
        ({"webhook-signature": "v2,AAAA"}, 0.0),
        ({"webhook-signature": ""}, 0.0),
    ],
)
def test_what_proves_nothing_is_refused(change: dict[str, str], ago: float) -> None:
    """Replayed after five minutes, from the future, for another id, malformed: InvalidRequest, and the remedy."""
    body, headers = sent([OLD], ago=ago)
    with pytest.raises(InvalidRequest, match="webhook-signature: does not prove this body"):
        verify(body, {**headers, **change}, [OLD])


@pytest.mark.parametrize("body", [b"{}", b"\xff\xfe", b""])
def test_another_body_is_refused(body: bytes) -> None:
    """One byte changed is another body; so is what is no text."""
    _, headers = sent([OLD])
    with pytest.raises(InvalidRequest):
        verify(body, headers, [OLD])


def test_another_secret_is_refused() -> None:
    """A receiver with a secret that did not sign refuses."""
    body, headers = sent([OLD, NEW])
    with pytest.raises(InvalidRequest):
        verify(body, headers, [OTHER])


@pytest.mark.parametrize("body", [b"[]", b'{"type": "x"}', b'{"type":"x","timestamp":"y","data":{}}', b"nothing"])
def test_a_signed_body_that_is_no_event_is_refused(body: bytes) -> None:
    """Somebody else's webhook with the same secret is no event of ours."""
    headers = Signer([OLD]).headers("m", body, datetime.now(UTC))
    with pytest.raises(InvalidRequest):
        verify(body, headers, [OLD])


@pytest.mark.parametrize("secret", ["secret", "whsec_", "whsec_=", "whsec_ä"])
def test_a_word_that_is_no_secret_is_named_without_being_shown(secret: str) -> None:
    """The setting is named, its value is not."""
    with pytest.raises(InvalidRequest) as raised:
        Signer([OLD, secret])
    assert [problem["field"] for problem in raised.value.problems] == ["IMAGEGEN_WEBHOOK_SECRET"]
    assert raised.value.__cause__ is None
    assert "whsec_ä" not in str(raised.value)


def test_the_client_verifies_with_its_secret() -> None:
    """`Client.celery(…, webhook_secret=…)` verifies without a connection; without a secret it says what is missing."""
    body, headers = sent([NEW])
    with Client.celery("redis://127.0.0.1:1/0", webhook_secret=(OLD, NEW)) as client:
        assert client.verify_webhook(body, headers).document.ok
    with (
        Client.celery("redis://127.0.0.1:1/0") as client,
        pytest.raises(InvalidRequest, match="webhook_secret: is not set"),
    ):
        client.verify_webhook(body, headers)


def test_a_light_installation_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library: NotServed that names the extra."""
    body, headers = sent([OLD])
    monkeypatch.setitem(sys.modules, "standardwebhooks", None)
    with pytest.raises(NotServed, match=r"imagegen-celery\[api\]"):
        verify(body, headers, [OLD])


def test_a_malformed_secret_is_refused_at_start(tmp_path: Path) -> None:
    """`Settings.check` names the setting, so that no worker starts to fail at every end."""
    good = Settings.load({"IMAGEGEN_WEBHOOK_SECRET": f"{OLD},{NEW}"}, tmp_path)
    good.check()
    assert good.signer() is not None
    assert Settings.load({}, tmp_path).signer() is None
    with pytest.raises(InvalidRequest, match="IMAGEGEN_WEBHOOK_SECRET"):
        Settings.load({"IMAGEGEN_WEBHOOK_SECRET": f"{OLD},secret"}, tmp_path).check()
