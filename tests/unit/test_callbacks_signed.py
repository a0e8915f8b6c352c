"""Signatures of providers' callbacks: genuine ones hold; forged, replayed and altered ones are told apart."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from pydantic import SecretStr

from imagegen.errors import InvalidRequest, PartUnavailable, Temporary
from imagegen.providers.inbound import fal, kie
from imagegen.providers.inbound.base import TOLERANCE, UNPROVEN, Checked, Proof, Refusal
from imagegen.providers.inbound.keys import FRESH, LIFE, PAUSE, PAUSE_WITHOUT, KeySet
from imagegen.providers.inbound.verifiers import Rules, Verifiers, rules_of
from imagegen.settings import MASK, Settings
from imagegen.settings_values import PROVIDERS
from imagegen.testing.memory import ManualClock
from imagegen.transport import Reply
from imagegen.webhooks import keys as signers_of
from tests import signing
from tests.signing import AUDIENCE, GOOGLE_SECRET, KIE_KEY, REPLICATE_SECRET, SIGNED, Signers

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BODY = json.dumps({"data": {"taskId": "task-1"}}).encode()
RULES = Rules(
    kie=SecretStr(KIE_KEY),
    gemini=(SecretStr(GOOGLE_SECRET),),
    gemini_url="http://keys.test/google",
    gemini_audience=AUDIENCE,
    fal_url="http://keys.test/fal",
    replicate=(SecretStr(REPLICATE_SECRET),),
)
COVERED = {"gemini", "fal", "replicate"}
"""Whose signature covers the body."""


class Keys:
    """Key sets at their addresses, and how often they were read."""

    def __init__(self, signers: Signers) -> None:
        self.signers, self.reads, self.away = signers, 0, False

    def fetch(self, method: str, url: str, *, total: float, max_bytes: int) -> Reply:
        self.reads += 1
        if self.away:
            raise Temporary("away")
        told = self.signers.google_keys() if url.endswith("/google") else self.signers.fal_keys()
        return Reply(200, {}, json.dumps(told).encode())


@pytest.fixture
def keys() -> Keys:
    """Every provider's keys."""
    return Keys(Signers())


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands."""
    return ManualClock(NOW)


def verifiers(keys: Keys, clock: ManualClock, rules: Rules = RULES, **more: Any) -> Verifiers:
    return Verifiers(rules, keys.fetch, clock.monotonic, **more)


def provider_of(kind: str) -> str:
    return kind.partition(" ")[0]


def check(keys: Keys, kind: str, *, body: bytes = BODY, sent: bytes | None = None, age: float = 0) -> Checked:
    """A callback that was signed `age` seconds ago over `body`, and came with the body `sent`."""
    headers = SIGNED[kind](keys.signers, body, NOW - timedelta(seconds=age))
    found = verifiers(keys, ManualClock(NOW))
    return found.check(provider_of(kind), body if sent is None else sent, headers, NOW)


@pytest.mark.parametrize("kind", SIGNED)
@pytest.mark.parametrize("age", [0, 299, -299])
def test_a_genuine_callback_holds(keys: Keys, kind: str, age: float) -> None:
    """Signed by the provider within five minutes: proven, and whether the body is covered is told."""
    proof = check(keys, kind, age=age)
    assert isinstance(proof, Proof)
    assert (proof.signed, proof.body) == (True, kind in COVERED)
    assert (proof.delivery is not None) is (kind != "kie")


@pytest.mark.parametrize("kind", SIGNED)
@pytest.mark.parametrize("age", [301, -301, 86400])
def test_an_old_or_future_callback_is_stale(keys: Keys, kind: str, age: float) -> None:
    """More than five minutes off, either way: a recorded callback cannot be played again."""
    assert check(keys, kind, age=age) is Refusal.STALE


@pytest.mark.parametrize("kind", SIGNED)
def test_a_replay_under_a_new_time_is_forged(keys: Keys, kind: str) -> None:
    """The time is signed: an old signature with a new time does not hold."""
    then = NOW - timedelta(hours=1)
    headers = SIGNED[kind](keys.signers, BODY, then)
    moved = {name: str(int(NOW.timestamp())) if "imestamp" in name else value for name, value in headers.items()}
    found = verifiers(keys, ManualClock(NOW)).check(provider_of(kind), BODY, moved, NOW)
    assert found is (Refusal.STALE if kind == "gemini dynamic" else Refusal.FORGED)


@pytest.mark.parametrize("kind", sorted({*SIGNED} - {"gemini dynamic"}))
def test_an_altered_body_is_forged(keys: Keys, kind: str) -> None:
    """Another task in the body: refused by whoever signs the body, and by kie, who signs the task."""
    assert check(keys, kind, sent=BODY.replace(b"task-1", b"task-2")) is Refusal.FORGED


@pytest.mark.parametrize("kind", sorted(COVERED))
@pytest.mark.parametrize("sent", [BODY + b" ", b"", b"\xff\xfe"])
def test_every_byte_is_covered(keys: Keys, kind: str, sent: bytes) -> None:
    """A blank more, nothing at all, no text: refused where the body is covered."""
    assert check(keys, kind, sent=sent) is Refusal.FORGED


@pytest.mark.parametrize("kind", ["kie", "gemini dynamic"])
def test_a_body_that_is_not_covered_is_not_believed(keys: Keys, kind: str) -> None:
    """The rest of the body may have been altered: the proof says so, and names no delivery for certain."""
    proof = check(keys, kind, sent=b'{"data": {"taskId": "task-1", "resultUrl": "https://evil.test"}}')
    assert isinstance(proof, Proof)
    assert not proof.body


@pytest.mark.parametrize("kind", SIGNED)
def test_a_missing_header_is_unsigned(keys: Keys, kind: str) -> None:
    """Without one of its headers nothing is proven; they are found in any case of letters."""
    headers = SIGNED[kind](keys.signers, BODY, NOW)
    found = verifiers(keys, ManualClock(NOW))
    assert isinstance(found.check(provider_of(kind), BODY, {k.upper(): v for k, v in headers.items()}, NOW), Proof)
    assert found.check(provider_of(kind), BODY, {}, NOW) is Refusal.UNSIGNED
    optional = {"webhook-id", "webhook-timestamp"} if kind == "gemini dynamic" else set()
    for name in {*headers} - optional:
        less = {key: value for key, value in headers.items() if key != name}
        assert found.check(provider_of(kind), BODY, less, NOW) is Refusal.UNSIGNED, name
        assert found.check(provider_of(kind), BODY, {**less, name: ""}, NOW) is Refusal.UNSIGNED, name


@pytest.mark.parametrize("kind", SIGNED)
@pytest.mark.parametrize(
    "rubbish", ["x", "v1,x", "v1,", "ключ", "0" * 128, "a.b.c", " ", "é" * 10, "v1," * 500, "x" * 9999]
)
def test_rubbish_is_refused(keys: Keys, kind: str, rubbish: str) -> None:
    """Whatever stands in place of a signature or a time: a refusal, no error."""
    headers = SIGNED[kind](keys.signers, BODY, NOW)
    for name in headers:
        found = verifiers(keys, ManualClock(NOW)).check(provider_of(kind), BODY, {**headers, name: rubbish}, NOW)
        unsigned = kind == "gemini dynamic" and name == "webhook-id"
        assert isinstance(found, Proof if unsigned else Refusal), name


@pytest.mark.parametrize("kind", SIGNED)
def test_another_s_key_is_forged(keys: Keys, kind: str) -> None:
    """Signed with a key that is not the provider's, or not ours with it."""
    other = Signers(google=rsa.generate_private_key(65537, 2048))
    headers = SIGNED[kind](other, BODY, NOW)
    secret = (SecretStr("whsec_" + base64.b64encode(b"other" * 6).decode()),)
    rules = replace(RULES, kie=SecretStr("another"), gemini=secret, replicate=secret)
    assert verifiers(keys, ManualClock(NOW), rules).check(provider_of(kind), BODY, headers, NOW) is Refusal.FORGED


def test_google_s_token_is_looked_at_closely(keys: Keys) -> None:
    """No time, an end that has passed, another audience, no signature, a public key as a secret: all refused."""
    tried = {
        keys.signers.jwt(NOW, iat=None): Refusal.STALE,
        keys.signers.jwt(NOW, iat="now"): Refusal.STALE,
        keys.signers.jwt(NOW, exp=int(NOW.timestamp()) - 1): Refusal.STALE,
        keys.signers.jwt(NOW, aud="another"): Refusal.FORGED,
        keys.signers.jwt(NOW, aud=None): Refusal.FORGED,
        _unsigned({"alg": "none", "kid": "2026"}): Refusal.FORGED,
        _unsigned({"alg": "HS256", "kid": "2026"}): Refusal.FORGED,
    }
    found = verifiers(keys, ManualClock(NOW))
    for token, refusal in tried.items():
        assert found.check("gemini", BODY, {"webhook-signature": token}, NOW) is refusal
    anybody = verifiers(keys, ManualClock(NOW), replace(RULES, gemini_audience=None))
    told = {"webhook-signature": keys.signers.jwt(NOW, aud="another")}
    assert isinstance(anybody.check("gemini", BODY, told, NOW), Proof)


def _unsigned(header: dict[str, str]) -> str:
    parts = [header, {"aud": AUDIENCE, "iat": int(NOW.timestamp())}]
    told = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode() for one in parts]
    signature = hmac.new(b"", ".".join(told).encode(), hashlib.sha256).digest()
    return ".".join([*told, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])


def test_either_secret_holds_while_they_rotate(keys: Keys) -> None:
    """Two secrets are known, or two signatures sent: one that fits is enough."""
    old, new = "whsec_" + base64.b64encode(b"o" * 24).decode(), REPLICATE_SECRET
    both = verifiers(keys, ManualClock(NOW), replace(RULES, replicate=(SecretStr(old), SecretStr(new))))
    signed = [signing.standard(secret, BODY, NOW) for secret in (old, new)]
    for headers in signed:
        assert isinstance(both.check("replicate", BODY, headers, NOW), Proof)
    together = {**signed[0], "webhook-signature": " ".join(one["webhook-signature"] for one in signed)}
    assert isinstance(verifiers(keys, ManualClock(NOW)).check("replicate", BODY, together, NOW), Proof)


def test_the_standard_s_own_example_holds(keys: Keys) -> None:
    """The known answer of the Standard Webhooks specification's libraries."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    rules = replace(RULES, replicate=(SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),))
    then = datetime.fromtimestamp(1614265330, UTC)
    found = verifiers(keys, ManualClock(then), rules).check("replicate", b'{"test": 2432232314}', headers, then)
    assert found == Proof(body=True, delivery="msg_p5jXN8AQM9LWM0D4loKWxJek")


def test_an_ed25519_known_answer_holds() -> None:
    """RFC 8032, 7.1, test 1, as a key of fal's set signs: the key is read from base64url without padding."""
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    key = {"x": base64.urlsafe_b64encode(public).rstrip(b"=").decode()}
    message = "\n".join(["r", "u", str(int(NOW.timestamp())), hashlib.sha256(BODY).hexdigest()])
    signature = ed25519.Ed25519PrivateKey.from_private_bytes(secret).sign(message.encode()).hex()
    told = dict(zip(fal.HEADERS, ["r", "u", str(int(NOW.timestamp())), signature], strict=True))
    assert fal.verify(BODY, told, [{"kty": "RSA"}, {"x": 5}, {"x": "ä"}, key], NOW) == Proof(body=True, delivery="r")
    assert fal.verify(BODY, told, [{"x": key["x"][:-2]}], NOW) is Refusal.FORGED


@pytest.mark.parametrize(
    ("body", "task"),
    [
        (b'{"data": {"taskId": "a", "task_id": "b"}}', "a"),
        (b'{"data": {"task_id": "b"}}', "b"),
        (b'{"data": {"taskId": 7}}', None),
        (b'{"data": []}', None),
        (b"[]", None),
        (b"", None),
        (b"[" * 100_000, None),
    ],
)
def test_kie_s_task_is_the_one_that_was_signed(body: bytes, task: str | None) -> None:
    """One reading of the body for the signature and for whoever acts on it."""
    assert kie.task_of(body) == task


@pytest.mark.parametrize("provider", PROVIDERS)
def test_without_secrets_nothing_is_proven(keys: Keys, provider: str) -> None:
    """Nothing to check with: not refused and not proven, whatever the headers say; no key is fetched."""
    sign = SIGNED.get(provider, signing.nanobanana)
    found = verifiers(keys, ManualClock(NOW), Rules())
    for headers in (sign(keys.signers, BODY, NOW), {}):
        assert found.check(provider, BODY, headers, NOW) == UNPROVEN
    assert keys.reads == 0


def test_a_kind_that_is_not_set_up_is_refused(keys: Keys) -> None:
    """Google signs in two ways: where one of them can be checked, nobody passes by claiming the other."""
    registered = verifiers(keys, ManualClock(NOW), replace(RULES, gemini_url=None))
    with_request = verifiers(keys, ManualClock(NOW), replace(RULES, gemini=()))
    dynamic, static = (SIGNED[kind](keys.signers, BODY, NOW) for kind in ("gemini dynamic", "gemini"))
    assert registered.check("gemini", BODY, dynamic, NOW) is Refusal.FORGED
    assert with_request.check("gemini", BODY, static, NOW) is Refusal.FORGED


def test_keys_are_read_seldom(keys: Keys, clock: ManualClock) -> None:
    """Once for many callbacks, again after a while; however many false ones come, once a minute."""
    found = verifiers(keys, clock)

    def come(sign: Callable[..., dict[str, str]], times: int) -> None:
        for _ in range(times):
            found.check("fal", BODY, sign(keys.signers, BODY, clock.now()), clock.now())

    come(signing.fal, 5)
    assert keys.reads == 1
    forger = Signers()
    for _ in range(5):
        found.check("fal", BODY, signing.fal(forger, BODY, clock.now()), clock.now())
    assert keys.reads == 1
    clock.advance(PAUSE)
    for _ in range(5):
        found.check("fal", BODY, signing.fal(forger, BODY, clock.now()), clock.now())
    assert keys.reads == 2
    clock.advance(FRESH + 1)
    come(signing.fal, 5)
    assert keys.reads == 3


@pytest.mark.parametrize("kind", ["fal", "gemini dynamic"])
def test_a_new_key_serves_at_once(keys: Keys, clock: ManualClock, kind: str) -> None:
    """A signature by a key that is not known yet has the keys read again."""
    found = verifiers(keys, clock)
    for kid in ("2026", "2027"):
        keys.signers = Signers(google=rsa.generate_private_key(65537, 2048), kid=kid)
        headers = SIGNED[kind](keys.signers, BODY, clock.now())
        assert isinstance(found.check(provider_of(kind), BODY, headers, clock.now()), Proof)
        clock.advance(PAUSE)


def test_keys_outlive_their_address_for_a_day(keys: Keys, clock: ManualClock) -> None:
    """While the address is away known keys serve up to 24 hours; then, and where none are known, it is told."""
    told = KeySet("http://keys.test/fal", keys.fetch, clock.monotonic)
    keys.away = True
    for _ in range(2):
        with pytest.raises(PartUnavailable):
            told.keys()
    assert keys.reads == 1
    clock.advance(PAUSE_WITHOUT)
    keys.away = False
    known = told.keys()
    keys.away = True
    clock.advance(LIFE - 1)
    assert told.keys() == known
    clock.advance(2)
    with pytest.raises(PartUnavailable):
        told.keys()


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b'{"keys": {}}', b'{"keys": 1}'])
def test_what_is_no_key_set_is_told(clock: ManualClock, answer: bytes) -> None:
    """A page that is no key set leaves nothing to check with: the provider is asked to call again."""
    told = KeySet("http://keys.test", lambda *_, **__: Reply(200, {}, answer), clock.monotonic)
    with pytest.raises(PartUnavailable):
        told.keys()


def test_a_secret_that_was_replaced_serves_without_a_restart(keys: Keys, clock: ManualClock, tmp_path: Path) -> None:
    """NAME_FILE is read again when a signature does not hold, seldom, and a broken file changes nothing."""
    path = tmp_path / "secret"
    path.write_text(GOOGLE_SECRET)
    settings = Settings.load({"REPLICATE_WEBHOOK_SECRET_FILE": str(path)}, tmp_path)
    found = verifiers(keys, clock, rules_of(settings), reread=lambda: rules_of(settings.reload()))
    headers = signing.replicate(keys.signers, BODY, NOW)
    for text, expected in (("whsec_", Refusal.FORGED), (REPLICATE_SECRET, Proof(body=True, delivery="msg_1"))):
        path.write_text(text)
        assert found.check("replicate", BODY, headers, NOW) == expected
        clock.advance(60)


def test_settings_tell_what_is_checked(tmp_path: Path) -> None:
    """Emulated, no documented host is asked for keys; with real pictures it is. Secrets are masked."""
    told = {
        "KIE_WEBHOOK_HMAC_KEY": KIE_KEY, "GEMINI_WEBHOOK_SECRET": GOOGLE_SECRET,
        "REPLICATE_WEBHOOK_SECRET": f"{REPLICATE_SECRET},{GOOGLE_SECRET}", "GEMINI_WEBHOOK_AUDIENCE": AUDIENCE,
    }  # fmt: skip
    emulated = Settings.load(told, tmp_path)
    rules = rules_of(emulated)
    assert (rules.fal_url, rules.gemini_url, len(rules.replicate)) == (None, None, 2)
    rows = {row.name: row.value for row in emulated.describe()}
    assert {rows[name] for name in told if name != "GEMINI_WEBHOOK_AUDIENCE"} <= {MASK, f"{MASK},{MASK}"}
    real = rules_of(Settings.load({**told, "USE_REAL_IMAGE": "true", "FAL_KEY": "k"}, tmp_path))
    assert real.fal_url == "https://rest.fal.ai/.well-known/jwks.json"
    assert real.gemini_url == "https://generativelanguage.googleapis.com/.well-known/jwks.json"
    other = rules_of(Settings.load({"FAL_JWKS_URL": "http://127.0.0.1:1/keys"}, tmp_path))
    assert other.fal_url == "http://127.0.0.1:1/keys"


@pytest.mark.parametrize("name", ["GEMINI_WEBHOOK_SECRET", "REPLICATE_WEBHOOK_SECRET"])
def test_a_secret_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    """Told by its name before anything is served, without being repeated."""
    with pytest.raises(InvalidRequest, match=name) as caught:
        rules_of(Settings.load({name: "hunter2"}, tmp_path))
    assert "hunter2" not in str(caught.value)
    assert signers_of([GOOGLE_SECRET], name)


def test_the_tolerance_is_the_standard_s() -> None:
    """Five minutes."""
    assert timedelta(minutes=5) == TOLERANCE
