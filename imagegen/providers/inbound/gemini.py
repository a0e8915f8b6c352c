"""Gemini API: Standard Webhooks for registered addresses, a JWT for those given with a request.

https://ai.google.dev/gemini-api/docs/webhooks. A registered (static) webhook is signed with the secret that was told
once; the signature covers the body. For an address given with a request (dynamic), `webhook-signature` is an RS256 JWT
by a key of `https://generativelanguage.googleapis.com/.well-known/jwks.json`. Which audience it names and whether it
covers the body is not documented well enough to rely on, so it proves no more than that Google called a moment ago.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jwt
from jwt.types import Options

from imagegen.providers.inbound import standard
from imagegen.providers.inbound.base import TOLERANCE, Checked, Proof, Refusal, found, in_time

ALGORITHM = "RS256"
MAX_JWT = 8192
"""Characters of a JWT; theirs have about a thousand."""


def is_static(headers: Mapping[str, str]) -> bool:
    """Whether the signature is that of a registered webhook."""
    return "," in headers.get("webhook-signature", "")


def verify_static(body: bytes, headers: Mapping[str, str], keys: Sequence[Any], now: datetime) -> Checked:
    """See `standard.verify`."""
    return standard.verify(body, headers, keys, now)


def verify_dynamic(
    headers: Mapping[str, str], keys: Sequence[Mapping[str, Any]], audience: str | None, now: datetime
) -> Checked:
    """`keys`: the entries of the key set; `audience`: what `aud` must name, None: whatever it names."""
    told = found(headers, "webhook-signature")
    if told is None:
        return Refusal.UNSIGNED
    if not in_time(headers.get("webhook-timestamp", str(int(now.timestamp()))), now):
        return Refusal.STALE
    try:
        claims = _claims(told[0][:MAX_JWT], keys, audience)
    except (jwt.PyJWTError, ValueError, TypeError):
        return Refusal.FORGED
    if not _in_time(claims, now.timestamp()):
        return Refusal.STALE
    return Proof(delivery=headers.get("webhook-id") or None)


def _in_time(claims: Mapping[str, Any], moment: float) -> bool:
    """Made a moment ago, and not ended: a token that does not say when it was made could be played again."""
    made, ends = claims.get("iat"), claims.get("exp", moment + 1)
    if not isinstance(made, int | float) or not isinstance(ends, int | float):
        return False
    return abs(moment - made) <= TOLERANCE.total_seconds() and ends > moment


def _claims(token: str, keys: Sequence[Mapping[str, Any]], audience: str | None) -> dict[str, Any]:
    """What the token says. Raises `jwt.PyJWTError` where no key of the set signed it. Its times are not looked at."""
    kid = jwt.get_unverified_header(token).get("kid")
    for key in keys:
        if key.get("kid") == kid and key.get("kty") == "RSA":
            options = Options(verify_exp=False, verify_nbf=False, verify_iat=False, verify_aud=audience is not None)
            signer = jwt.PyJWK.from_dict(dict(key), algorithm=ALGORITHM)
            return jwt.decode(token, signer.key, algorithms=[ALGORITHM], audience=audience, options=options)
    raise jwt.InvalidKeyError("no such key")
