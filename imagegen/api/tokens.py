"""Bearer tokens: who calls, proved by a signature (RFC 7519), and tokens made for development and for services.

| token's `alg` | checked with |
|---|---|
| HS256 | the shared secret |
| RS256, ES256, EdDSA, … | the issuer's published key of the token's `kid` |

Each kind of key serves its own algorithms alone, so a published key is never taken for a shared secret, and `none` is
nobody's.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import jwt
from jwt.types import Options

from imagegen.api.rotation import Reread, Rotating, TokenRules
from imagegen.errors import ImagegenError, PartUnavailable, Unauthenticated
from imagegen.transport import Reply

SHARED = "HS256"
PUBLISHED = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""Algorithms of published keys: asymmetric ones alone."""
LEEWAY = timedelta(seconds=10)
"""How far the issuer's clock may be from ours."""
MAX_TOKEN = 8 * 1024
"""Characters of a token; more is no token of anybody's."""
MAX_OWNER = 120
"""Characters of an owner's name, as requests take them."""
LATEST = 1e15
"""An `exp` as late as this is as good as any later one, and can still be reckoned with."""
KEYS_LIFE, KEYS_PAUSE = 300.0, 30.0
"""Seconds that published keys serve before they are read again; and, for an unknown `kid` or after a failure, at
least between two readings."""
KEYS_TOTAL, KEYS_BYTES = 5.0, 256 * 1024
"""Seconds and bytes that the issuer's answer may take."""


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request: its owner name, whether it acts for every owner, and until when its token holds.

    `expires`: Unix seconds; it is no part of who the caller is.
    """

    owner: str
    service: bool = False
    expires: float = field(default=math.inf, compare=False)

    @property
    def sees(self) -> str | None:
        """The owner whose things it sees; None: everybody's."""
        return None if self.service else self.owner

    def reads_budget(self, scope: str) -> bool:
        """Whether it may see what is committed there: in a scope of several owners, that is the others' money too."""
        return self.service or scope == f"owner:{self.owner}"


class Fetch(Protocol):
    """One bounded HTTP call: `imagegen.transport.Transport.call`."""

    def __call__(self, method: str, url: str, *, total: float, max_bytes: int) -> Reply: ...


@dataclass
class Tokens:
    """Reads tokens. Thread-safe. `fetch` reads the issuer's keys, `reread` the rules once more (None: they never
    change); `monotonic` counts seconds."""

    rules: TokenRules
    fetch: Fetch
    monotonic: Callable[[], float]
    reread: Reread | None = None
    _keys: Mapping[str | None, jwt.PyJWK] = field(default_factory=dict, init=False)
    _read_at: float | None = field(default=None, init=False)
    _tried_at: float | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _rotating: Rotating = field(init=False)

    def __post_init__(self) -> None:
        self._rotating = Rotating(self.rules, self.reread, self.monotonic)

    def caller(self, token: str, now: datetime) -> Caller:
        """Whose token it is. Raises `Unauthenticated`, and `PartUnavailable` where the issuer's keys cannot be had."""
        if len(token) > MAX_TOKEN:
            raise Unauthenticated("the token is too long")
        try:
            claims = self._proved(token)
        except jwt.InvalidAudienceError as error:
            raise Unauthenticated("the token is for another audience") from error
        except jwt.MissingRequiredClaimError as error:
            raise Unauthenticated(f"the token has no {error.claim}") from error
        except jwt.InvalidSignatureError as error:
            raise Unauthenticated("the token's signature does not hold: another secret or key made it") from error
        except (jwt.PyJWTError, ValueError) as error:
            raise Unauthenticated("the token is no JWT that holds here") from error
        _check_time(claims, now)
        owner = claims["sub"]
        if not isinstance(owner, str) or not 1 <= len(owner) <= MAX_OWNER or not _plain(owner):
            raise Unauthenticated(f"the token's sub is no owner name of 1 to {MAX_OWNER} characters")
        return Caller(owner, service=claims.get("role") == "service", expires=float(min(claims["exp"], LATEST)))

    def _proved(self, token: str) -> dict[str, Any]:
        """Its claims; where its signature does not hold, the secret's file may have another secret by then."""
        rules = self._rotating.rules()
        try:
            return self._claims(token, rules)
        except jwt.InvalidSignatureError:
            changed = self._rotating.again(rules)
            if changed is None:
                raise
            return self._claims(token, changed)

    def _claims(self, token: str, rules: TokenRules) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm, audience = str(header.get("alg")), rules.audience
        key = self._key(algorithm, header.get("kid"), rules)
        required = ["exp", "sub", "aud"] if audience else ["exp", "sub"]
        # Time is checked by our own clock.
        options = Options(
            verify_exp=False, verify_nbf=False, verify_iat=False, verify_aud=audience is not None, require=required
        )
        return jwt.decode(token, key, algorithms=[algorithm], audience=audience, options=options)

    def _key(self, algorithm: str, kid: Any, rules: TokenRules) -> Any:
        if algorithm == SHARED and rules.secret is not None:
            return rules.secret.get_secret_value()
        if algorithm in PUBLISHED and rules.jwks_url is not None:
            found = self._published(str(kid) if kid is not None else None, rules.jwks_url)
            if found is not None and found.algorithm_name == algorithm:
                return found.key
        raise Unauthenticated(f"no key of ours checks a token with alg {algorithm[:20]!r} and this kid")

    def _published(self, kid: str | None, url: str) -> jwt.PyJWK | None:
        # While an issuer is slow, known keys serve, and strangers' hold no thread.
        if not self._lock.acquire(blocking=self._read_at is None):
            if kid in self._keys:
                return self._keys[kid]
            raise PartUnavailable("the keys of the tokens' issuer are being read", {"part": "jwks", "retryAfter": 1})
        try:
            now = self.monotonic()
            old = self._read_at is None or now - self._read_at > KEYS_LIFE
            tried = self._tried_at is not None and now - self._tried_at < KEYS_PAUSE
            if (old or kid not in self._keys) and not tried:
                self._tried_at = now
                self._read_keys(now, url)
            if self._read_at is None:
                raise PartUnavailable("the keys of the tokens' issuer cannot be read", {"part": "jwks"})
            return self._keys.get(kid)
        finally:
            self._lock.release()

    def _read_keys(self, now: float, url: str) -> None:
        """Keys that were read before stay in use while their issuer is away."""
        try:
            reply = self.fetch("GET", url, total=KEYS_TOTAL, max_bytes=KEYS_BYTES)
            found = jwt.PyJWKSet.from_dict(reply.json()) if reply.status == 200 else None
        except (ImagegenError, jwt.PyJWTError, ValueError, AttributeError):
            found = None
        if found is None:
            return
        usable = [key for key in found.keys if key.algorithm_name in PUBLISHED]
        keys: dict[str | None, jwt.PyJWK] = {key.key_id: key for key in usable}
        if len(usable) == 1:
            keys[None] = usable[0]
        self._keys = keys
        self._read_at = now


def mint(
    secret: str, owner: str, *, now: datetime, ttl: timedelta, service: bool = False, audience: str | None = None
) -> str:
    """A token of this owner, signed with the shared secret."""
    claims: dict[str, Any] = {"sub": owner, "iat": int(now.timestamp()), "exp": int((now + ttl).timestamp())}
    claims |= {"role": "service"} if service else {}
    claims |= {"aud": audience} if audience else {}
    return jwt.encode(claims, secret, algorithm=SHARED)


def _plain(owner: str) -> bool:
    """Trimmed, `ada` and `ada ` would be one owner, though their issuer may have given them to two."""
    return owner.isprintable() and owner == owner.strip()


def _check_time(claims: Mapping[str, Any], now: datetime) -> None:
    moment = now.timestamp()
    ends, begins = claims["exp"], claims.get("nbf", 0)
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in (ends, begins)):
        raise Unauthenticated("the token's exp and nbf are not both times")
    if ends <= moment - LEEWAY.total_seconds():
        raise Unauthenticated("the token has expired")
    if begins > moment + LEEWAY.total_seconds():
        raise Unauthenticated("the token is not valid yet")
