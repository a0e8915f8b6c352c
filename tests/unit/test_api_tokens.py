"""A token is taken only for what its signature, times and audience prove."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from imagegen.api.tokens import KEYS_LIFE, KEYS_PAUSE, Caller, TokenRules, Tokens, mint
from imagegen.errors import PartUnavailable, Unauthenticated
from imagegen.testing.memory import ManualClock
from imagegen.transport import LostAnswer, Reply

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
SECRET = "s" * 64
HOUR = timedelta(hours=1)
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
PEM = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def published(**keys: Any) -> dict[str, Any]:
    """A key set: kid to private key."""
    made = []
    for kid, key in keys.items():
        maker = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
        made.append({**json.loads(maker.to_jwk(key.public_key())), "kid": kid})
    return {"keys": made}


class Issuer:
    """Serves a key set; None: it is away."""

    def __init__(self, keys: dict[str, Any] | None) -> None:
        self.keys, self.asked = keys, 0

    def __call__(self, method: str, url: str, *, total: float, max_bytes: int) -> Reply:
        self.asked += 1
        if self.keys is None:
            raise LostAnswer("away")
        return Reply(200, {}, json.dumps(self.keys).encode())


def never(method: str, url: str, *, total: float, max_bytes: int) -> Reply:
    raise AssertionError("nobody is to be asked")


def shared(audience: str | None = None) -> Tokens:
    return Tokens(TokenRules(SecretStr(SECRET), None, audience), never, ManualClock(NOW).monotonic)


def signed(algorithm: str = "HS256", key: Any = SECRET, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token of ada's for an hour, unless told otherwise; a claim of None is left out."""
    whole = {"sub": "ada", "exp": int((NOW + HOUR).timestamp()), **claims}
    return jwt.encode({k: v for k, v in whole.items() if v is not None}, key, algorithm, headers)


@pytest.mark.parametrize("service", [False, True])
def test_a_minted_token_is_read_back(service: bool) -> None:
    """Owner and role come out as they went in, under the audience that both sides name."""
    token = mint(SECRET, "ada", now=NOW, ttl=HOUR, service=service, audience="pictures")
    assert shared("pictures").caller(token, NOW) == Caller("ada", service)
    assert shared("pictures").caller(token, NOW).expires == (NOW + timedelta(hours=1)).timestamp()
    assert Caller("ada", service).sees == (None if service else "ada")


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "no JWT"),
        ("a.b.c", "no JWT"),
        ("x" * 9000, "too long"),
        (signed(key="another secret that is long enough for it"), "signature does not hold"),
        (signed("HS512"), "no key of ours"),
        (signed("none", None), "no key of ours"),
        (signed(exp=None), "has no exp"),
        (signed(sub=None), "has no sub"),
        (signed(exp=True), "not both times"),
        (signed(exp=int(NOW.timestamp()) - 60), "expired"),
        (signed(nbf=int(NOW.timestamp()) + 60), "not valid yet"),
        (signed(nbf="soon"), "not both times"),
        (signed(sub=""), "no owner name"),
        (signed(sub="a\x00b"), "no owner name"),
        (signed(sub="a" * 121), "no owner name"),
        (signed(sub="ada "), "no owner name"),
        (signed(sub=" "), "no owner name"),
    ],
)
def test_what_does_not_hold_is_refused(token: str, reason: str) -> None:
    """Other keys, other algorithms, missing claims, wrong times and names: each is refused for its own reason."""
    with pytest.raises(Unauthenticated, match=reason):
        shared().caller(token, NOW)


def test_a_number_is_no_owner() -> None:
    """`sub` is text."""
    with pytest.raises(Unauthenticated):
        shared().caller(jwt.api_jws.encode(b'{"sub": 7, "exp": 99999999999}', SECRET), NOW)


@pytest.mark.parametrize("audience", [None, "others", ["others"]])
def test_a_token_for_another_audience_is_refused(audience: Any) -> None:
    """Where an audience is set, a token names it."""
    with pytest.raises(Unauthenticated, match="aud"):
        shared("pictures").caller(signed(aud=audience), NOW)


def test_an_audience_is_nothing_where_none_is_asked_for() -> None:
    """Without the setting any audience will do."""
    assert shared().caller(signed(aud="others"), NOW).owner == "ada"


def test_published_keys_serve_their_own_algorithm() -> None:
    """RSA and EC tokens are found by their kid; the set is read once."""
    issuer = Issuer(published(one=RSA, two=EC))
    tokens = Tokens(TokenRules(None, "https://id.example/keys"), issuer, ManualClock(NOW).monotonic)
    assert tokens.caller(signed("RS256", RSA, {"kid": "one"}), NOW).owner == "ada"
    assert tokens.caller(signed("ES256", EC, {"kid": "two"}), NOW).owner == "ada"
    for wrong in (signed("RS256", RSA, {"kid": "two"}), signed("RS512", RSA, {"kid": "one"}), signed()):
        with pytest.raises(Unauthenticated, match="no key of ours"):
            tokens.caller(wrong, NOW)
    assert issuer.asked == 1


def test_a_published_key_is_no_shared_secret() -> None:
    """A token signed with the public key's own bytes as a secret is refused, whether or not there is a secret."""
    head, body, _ = signed(headers={"kid": "one"}).split(".")
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(f"{head}.{body}".encode(), PEM)
    forged = f"{head}.{body}.{jwt.utils.base64url_encode(signature).decode()}"
    for secret in (None, SecretStr(SECRET)):
        rules = TokenRules(secret, "https://id.example/keys")
        with pytest.raises(Unauthenticated):
            Tokens(rules, Issuer(published(one=RSA)), ManualClock(NOW).monotonic).caller(forged, NOW)


def test_new_keys_are_read_but_not_by_every_stranger() -> None:
    """An unknown kid has the set read again, at most twice a minute; old keys serve while the issuer is away."""
    clock, issuer = ManualClock(NOW), Issuer(published(one=RSA))
    tokens = Tokens(TokenRules(None, "https://id.example/keys"), issuer, clock.monotonic)
    known, stranger = signed("RS256", RSA, {"kid": "one"}), signed("ES256", EC, {"kid": "two"})
    tokens.caller(known, NOW)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            tokens.caller(stranger, NOW)
    assert issuer.asked == 1
    clock.advance(KEYS_PAUSE + 1)
    issuer.keys = published(one=RSA, two=EC)
    assert tokens.caller(stranger, NOW).owner == "ada"
    issuer.keys = None
    clock.advance(KEYS_LIFE + 1)
    assert tokens.caller(known, NOW).owner == "ada"
    assert issuer.asked == 3


@pytest.mark.parametrize("keys", [None, {"keys": "none"}, {"error": 1}])
def test_an_issuer_without_keys_is_a_part_that_is_away(keys: Any) -> None:
    """Before the first key set nobody can be told apart: PART_UNAVAILABLE, not a wrong token."""
    tokens = Tokens(TokenRules(None, "https://id.example/keys"), Issuer(keys), ManualClock(NOW).monotonic)
    with pytest.raises(PartUnavailable):
        tokens.caller(signed("RS256", RSA, {"kid": "one"}), NOW)


def test_a_slow_issuer_holds_up_one_stranger_alone() -> None:
    """While its keys are read for one unknown kid, other unknown ones are told to come again, and known ones serve."""
    asked, let_go = threading.Event(), threading.Event()
    issuer = Issuer(published(old=RSA))

    def slow(method: str, url: str, *, total: float, max_bytes: int) -> Reply:
        if issuer.asked:
            asked.set()
            assert let_go.wait(30)
        return issuer(method, url, total=total, max_bytes=max_bytes)

    clock = ManualClock(NOW)
    tokens = Tokens(TokenRules(None, "https://issuer.test/keys"), slow, clock.monotonic)
    known, unknown = (signed("RS256", RSA, {"kid": kid}) for kid in ("old", "new"))
    assert tokens.caller(known, NOW) == Caller("ada")
    clock.advance(KEYS_PAUSE + 1)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(tokens.caller, unknown, NOW)
        assert asked.wait(10)
        try:
            with pytest.raises(PartUnavailable, match="being read"):
                tokens.caller(unknown, NOW)
            assert tokens.caller(known, NOW) == Caller("ada")
        finally:
            let_go.set()
        assert isinstance(first.exception(10), Unauthenticated)
