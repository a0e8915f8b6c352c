"""Google's Gemini API, `generateContent`: the answer to the order is the picture itself.

https://ai.google.dev/api/generate-content and …/gemini-api/docs/image-generation. There is no key against buying twice
and no listing: an answer that is lost stays lost, so `reconcile_window` is 0.

HTTP 503 with status UNAVAILABLE says that the model was too busy to begin. 499, 500, 502 and 504 leave open whether
it drew, and drawing is billed: unknown. An answer without a picture is billed by its tokens like any other, a refusal
after thinking too. Whether the prompt alone of a refused call is billed, Google does not say: `billed: unknown`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from imagegen import waits
from imagegen.catalog import Catalog, Offer
from imagegen.errors import (
    AuthError,
    BadArtifact,
    Billed,
    ContentRefused,
    GenerationFailed,
    ImagegenError,
    InsufficientCredit,
    InvalidRequest,
    QuotaExhausted,
    RateLimited,
    SubmissionUnknown,
    Temporary,
)
from imagegen.policies import SUBMIT_TOTAL
from imagegen.ports import Clock
from imagegen.pricing import actual_gemini, produced
from imagegen.providers.base import (
    Delivered,
    Failed,
    InputImage,
    NotSent,
    Order,
    Progress,
    Rejected,
    Submission,
    Unknown,
)
from imagegen.providers.common import not_sold, paid_post, parsed, unknown, words
from imagegen.transport import Reply, Transport

PACIFIC = ZoneInfo("America/Los_Angeles")
"""Daily quotas begin anew at midnight there."""
REFUSED = frozenset({
    "IMAGE_SAFETY", "SAFETY", "IMAGE_PROHIBITED_CONTENT", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "LANGUAGE",
    "ESCALATION", "IMAGE_RECITATION", "RECITATION",
})  # fmt: skip
"""`finishReason`s that mean the content; NO_IMAGE, IMAGE_OTHER, OTHER, MAX_TOKENS, … mean a failed drawing."""
ACCOUNT_LIMITED = "PUP_LIMITED_DISABLED"
"""`finishReason` of an account that Google has limited for breaches of policy."""


class Gemini:
    """The project behind one key. Thread-safe."""

    name = "gemini"
    synchronous = True
    takes_bytes = True
    reconcile_window = 0.0

    def __init__(
        self, *, transport: Transport, catalog: Catalog, clock: Clock, url: str, key: Callable[[], str]
    ) -> None:
        """`url` without a closing slash; `key` is asked before every call, so a new key needs no restart."""
        self._transport, self._catalog, self._clock = transport, catalog, clock
        self._base, self._key = f"{url}/v1beta", key

    def submit(self, order: Order, *, callback_url: str | None) -> Submission:
        """One POST, sent once, answered with the picture. `callback_url` is not used: the API knows none."""
        offer = self._catalog.offer(self.name, order.model)
        if offer is None:
            return not_sold(self.name, order.model)
        images = [image for image in (order.source, order.mask, *order.references) if image is not None]
        if any(image.data is None for image in images):
            wrong = InvalidRequest.of("referenceImages", "a picture has no bytes", "Pictures are sent as bytes.")
            return Rejected(error=wrong)
        key = self._key()
        reply = paid_post(
            self.name,
            self._transport,
            f"{self._base}/models/{offer.id}:generateContent",
            headers={"x-goog-api-key": key},
            json=_body(order, offer, images),
            total=SUBMIT_TOTAL,
        )
        if isinstance(reply, NotSent | Unknown):
            return reply
        if reply.status == 200:
            return self._answered(parsed(reply), offer)
        return self._refused(reply, offer, key)

    def poll(self, provider_job_id: str) -> Progress:
        """Nothing to ask: the picture came with the answer, or not at all."""
        return Failed(error=SubmissionUnknown("gemini answers at once; there is no order to ask for"))

    def callback_task(self, body: Any) -> str | None:
        """`generateContent` calls nobody back."""
        return None

    def credit(self) -> Decimal | None:
        """The API tells no balance."""
        return None

    def _answered(self, body: Any, offer: Offer) -> Submission:
        """HTTP 200: a picture, or the reason why there is none."""
        if not isinstance(body, Mapping):
            return unknown(self.name, "HTTP 200 with a body that is no JSON object")
        candidate = _candidate(body)
        feedback = body.get("promptFeedback")
        blocked = feedback.get("blockReason") if isinstance(feedback, Mapping) else None
        if candidate is None and not blocked:
            return unknown(self.name, "HTTP 200 with neither candidates nor a reason")
        usage = body.get("usageMetadata")
        usage = usage if isinstance(usage, Mapping) else {}
        actual = actual_gemini(usage, self._catalog.tokens[self.name, offer.model.name])
        encoded = _picture(candidate or {})
        if encoded is None:
            error = _no_picture(candidate or {}, blocked, usage)
            return Rejected(error=error, usage=usage, actual=actual if error.billed == "yes" else None)
        try:
            data = binascii.a2b_base64(encoded, strict_mode=True)
        except (binascii.Error, ValueError):
            broken = BadArtifact("gemini: the picture is no valid base64")
            return Rejected(error=broken, usage=usage, actual=actual)
        return Delivered(data=data, usage=usage, actual=actual)

    def _refused(self, reply: Reply, offer: Offer, key: str) -> Submission:
        """Another status than 200. Only a documented refusal counts as one."""
        error = _error_object(parsed(reply))
        status = str(error.get("status") or "")
        place = f"HTTP {reply.status} {status}".rstrip()
        told = f"gemini: {words(error.get('message'), key) or 'no message'} ({place})"
        if reply.status == 429:
            return Rejected(error=self._limited(reply, error, told))
        if reply.status == 503 and status == "UNAVAILABLE":
            wait = self._wait(reply, error)
            return Rejected(error=Temporary(told, {} if wait is None else {"retryAfter": wait}))
        if reply.status == 404:
            remedy = f"{offer.id} may have ended: choose another model"
            return Rejected(error=InvalidRequest(f"{told}. {remedy}", {"model": offer.id}))
        if reply.status == 402 or (status == "FAILED_PRECONDITION" and _about_money(error)):
            return Rejected(error=InsufficientCredit(told))
        if reply.status in {401, 403} or status == "FAILED_PRECONDITION" or _bad_key(error):
            return Rejected(error=AuthError(told))
        if 400 <= reply.status < 500 and reply.status not in {408, 499}:
            return Rejected(error=InvalidRequest(told))
        return unknown(self.name, f"{place}: it may have been drawn and billed")

    def _limited(self, reply: Reply, error: Mapping[str, Any], told: str) -> ImagegenError:
        """429: too fast, or a day's quota used up. Of two waits the longer is obeyed."""
        now = self._clock.now()
        asked = self._wait(reply, error)
        if any("PerDay" in quota for quota in _quota_ids(error)):
            return QuotaExhausted(told, {"retryAfter": waits.longest(asked, until_midnight(now))})
        return RateLimited(told, {} if asked is None else {"retryAfter": asked})

    def _wait(self, reply: Reply, error: Mapping[str, Any]) -> float | None:
        """Seconds that the answer asks us to wait, in its body or its headers."""
        return waits.longest(_retry_delay(error), reply.retry_after(self._clock.now()))


def until_midnight(now: datetime) -> float:
    """Seconds until the next midnight in California, whose days have 23, 24 or 25 hours."""
    tomorrow = now.astimezone(PACIFIC).date() + timedelta(days=1)
    return (datetime.combine(tomorrow, time(0), PACIFIC) - now).total_seconds()


def _body(order: Order, offer: Offer, images: list[InputImage]) -> dict[str, Any]:
    """The request; only what the Developer API takes for this model."""
    shape = {"aspectRatio": order.ratio}
    if offer.sends_tier:
        shape["imageSize"] = order.tier
    config: dict[str, Any] = {"responseModalities": ["IMAGE"], "imageConfig": shape}
    if order.seed is not None:
        config["seed"] = order.seed
    if offer.thinking is not None:
        config["thinkingConfig"] = {"thinkingLevel": offer.thinking}
    parts: list[dict[str, Any]] = [{"text": order.prompt}]
    parts += [
        {"inlineData": {"mimeType": image.content_type, "data": base64.b64encode(image.data or b"").decode("ascii")}}
        for image in images
    ]
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}


def _candidate(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    candidates = body.get("candidates")
    first = candidates[0] if isinstance(candidates, list) and candidates else None
    return first if isinstance(first, Mapping) else None


def _picture(candidate: Mapping[str, Any]) -> str | None:
    """The last picture that is no draft: thinking models put drafts into parts marked `thought`."""
    found = None
    content = candidate.get("content")
    for part in _mappings(content.get("parts") if isinstance(content, Mapping) else None):
        inline = part.get("inlineData")
        if isinstance(inline, Mapping) and not part.get("thought") and isinstance(inline.get("data"), str):
            found = str(inline["data"]) or found
    return found


def _no_picture(candidate: Mapping[str, Any], blocked: Any, usage: Mapping[str, Any]) -> ImagegenError:
    """Why there is no picture, and what that cost."""
    reason = str(candidate.get("finishReason") or "")
    refused = reason in REFUSED or reason == ACCOUNT_LIMITED or bool(blocked and not reason)
    details = {
        "billed": _billed(usage, bool(candidate), refused),
        "finishReason": reason or None,
        "blockReason": blocked,
    }
    if reason == ACCOUNT_LIMITED:
        return AuthError("gemini: Google has limited this account for breaches of its policy", details)
    if blocked and not reason:
        return ContentRefused(f"gemini refused the prompt ({blocked})", details)
    message = words(candidate.get("finishMessage"), "")
    told = f"({reason or 'no reason given'}{': ' + message if message else ''})"
    if refused:
        return ContentRefused(f"gemini refused the picture {told}", details)
    return GenerationFailed(f"gemini answered without a picture {told}", details)


def _billed(usage: Mapping[str, Any], began: bool, refused: bool) -> Billed:
    if produced(usage) or (usage and not refused):
        return "yes"
    return "unknown" if usage or began else "no"


def _error_object(body: Any) -> Mapping[str, Any]:
    """`error` of an answer, which may be wrapped in a list of one."""
    first = body[0] if isinstance(body, list) and body else body
    error = first.get("error") if isinstance(first, Mapping) else None
    return error if isinstance(error, Mapping) else {}


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    return (one for one in value if isinstance(one, Mapping)) if isinstance(value, list) else iter(())


def _details(error: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    return (one for one in _mappings(error.get("details")) if str(one.get("@type", "")).endswith(kind))


def _retry_delay(error: Mapping[str, Any]) -> float | None:
    """`RetryInfo.retryDelay`, such as "34s" or "600.5s", in seconds."""
    return waits.longest(*(waits.duration(one.get("retryDelay")) for one in _details(error, "google.rpc.RetryInfo")))


def _quota_ids(error: Mapping[str, Any]) -> list[str]:
    return [
        str(violation.get("quotaId", ""))
        for detail in _details(error, "google.rpc.QuotaFailure")
        for violation in _mappings(detail.get("violations"))
    ]


def _about_money(error: Mapping[str, Any]) -> bool:
    """FAILED_PRECONDITION is about the account: its billing, else its region."""
    message = str(error.get("message") or "").lower()
    return "billing" in message or "credit" in message


def _bad_key(error: Mapping[str, Any]) -> bool:
    """Google answers a wrong key with 400 INVALID_ARGUMENT and this reason."""
    return any(one.get("reason") == "API_KEY_INVALID" for one in _details(error, "google.rpc.ErrorInfo"))
