"""What the providers' files share: the paid call itself, and how a provider's words are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagegen.errors import InvalidRequest, SubmissionUnknown, Temporary
from imagegen.providers.base import NotSent, Rejected, Unknown
from imagegen.transport import LostAnswer, NotSentError, Reply, Transport

MAX_WORDS = 300
"""Characters of a provider's message that go into ours."""


def paid_post(
    provider: str, transport: Transport, url: str, *, headers: Mapping[str, str], json: Any, total: float
) -> Reply | NotSent | Unknown:
    """One POST that costs money, sent once; an answer, or why there is none."""
    try:
        return transport.call("POST", url, headers=headers, json=json, total=total)
    except NotSentError as error:
        return NotSent(error=Temporary(f"{provider} cannot be reached: {error}", dict(error.details)))
    except LostAnswer as error:
        return unknown(provider, str(error))


def unknown(provider: str, why: str) -> Unknown:
    """The request left and nothing usable came back."""
    return Unknown(error=SubmissionUnknown(f"{provider}: {why}"))


def parsed(reply: Reply) -> Any:
    """The answer's JSON, or None where it is none (a proxy's page, a broken answer)."""
    try:
        return reply.json()
    except ValueError:
        return None


def words(text: Any, secret: str) -> str:
    """A provider's message on one line, shortened, without our key in it."""
    told = " ".join(str(text or "").split())
    if secret:
        told = told.replace(secret, "***")
    return told if len(told) <= MAX_WORDS else told[:MAX_WORDS] + "…"


def not_sold(provider: str, model: str) -> Rejected:
    """An order that no offer of the provider serves: refused before anything is sent."""
    return Rejected(
        error=InvalidRequest.of("model", f"{model!r} is not sold by {provider}", "Choose another model or provider.")
    )
