"""nanobananaapi.ai: an order is taken at once, its picture asked for later. https://docs.nanobananaapi.ai

An answer is a success only if its body says `code` 200 and carries `data.taskId`; HTTP 200 with another code is a
refusal, told by that code. The documentation lists codes 200, 400, 500 and 501 for callbacks; the others are those of
kie.ai, whose envelope is the same. Code 500, an HTTP 5xx and anything unreadable leave open whether an order was taken.

A callback is a hint and nothing more: it is unsigned, so its receiver asks `record-info` again with our key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from imagegen.catalog import Catalog, Offer
from imagegen.errors import (
    AuthError,
    ContentRefused,
    GenerationFailed,
    ImagegenError,
    InsufficientCredit,
    InvalidRequest,
    RateLimited,
    Temporary,
)
from imagegen.policies import POLL_TOTAL
from imagegen.ports import Clock
from imagegen.providers.base import (
    UNKNOWN_ORDER,
    Accepted,
    Failed,
    InputImage,
    NotSent,
    Order,
    Progress,
    Ready,
    Rejected,
    Running,
    Submission,
    Unknown,
)
from imagegen.providers.common import not_sold, paid_post, parsed, unknown, words
from imagegen.transport import Reply, Transport

NO_CALLBACK = "https://callback.invalid/"
"""`generate` and `generate-pro` demand a `callBackUrl`. Where polling alone is wanted they get this one: the top-level
domain `invalid` never resolves (RFC 2606), so the callback reaches nobody and carries nothing."""
ORDER_TOTAL = 60.0
"""Seconds for taking an order; drawing happens afterwards."""
MAINTENANCE_WAIT = 120.0
"""Seconds to wait on code 455 where the answer says nothing better: maintenance takes minutes."""
MAX_STATUS_BYTES = 4 * 1024 * 1024
MAX_TASK_ID = 200
"""Characters of a task's id in a callback: theirs have about forty."""
UNKNOWN_TASK = frozenset({404, 422})
"""Codes of `record-info` for a task that it does not know."""
FLAGGED = (
    "content", "policy", "policies", "flag", "prohibit", "sensitive", "nsfw", "violat", "safety", "moderat",
    "inappropriate",
)  # fmt: skip
"""Words that tell a refused prompt from a malformed request; both come as code 400."""


class NanoBanana:
    """The account behind one key. Thread-safe."""

    name = "nanobanana"
    synchronous = False
    takes_bytes = False
    reconcile_window = 45.0

    def __init__(
        self, *, transport: Transport, catalog: Catalog, clock: Clock, url: str, key: Callable[[], str]
    ) -> None:
        """`url` without a closing slash; `key` is asked before every call, so a new key needs no restart."""
        self._transport, self._catalog, self._clock = transport, catalog, clock
        self._base, self._key = f"{url}/api/v1", key

    def submit(self, order: Order, *, callback_url: str | None) -> Submission:
        """One POST, sent once. No seed: the API takes none. An accepted order costs its list price."""
        offer = self._catalog.offer(self.name, order.model)
        if offer is None:
            return not_sold(self.name, order.model)
        images = _images(order)
        if any(image.url is None for image in images):
            wrong = InvalidRequest.of("referenceImages", "a picture has no address", "Pictures must be fetchable URLs.")
            return Rejected(error=wrong)
        urls = [image.url for image in images if image.url]
        key = self._key()
        reply = paid_post(
            self.name,
            self._transport,
            f"{self._base}/nanobanana/{offer.id}",
            headers=_headers(key),
            json=_BODIES[offer.id](order, urls, callback_url),
            total=ORDER_TOTAL,
        )
        if isinstance(reply, NotSent | Unknown):
            return reply
        return self._submission(reply, offer, order.tier, key)

    def _submission(self, reply: Reply, offer: Offer, tier: str, key: str) -> Submission:
        code, message, data = _envelope(reply)
        task = data.get("taskId") if isinstance(data, Mapping) else None
        if code == 200:
            if not task:
                return unknown(self.name, "the order was answered with success and without a task id")
            row = self._catalog.price(self.name, offer.model.name, tier, self._clock.now().date())
            return Accepted(provider_job_id=str(task), actual=row.amount if row else None)
        if code is None:
            # A 4xx page of a proxy is a refusal too; 408 says that somebody waited for us in vain.
            code = reply.status if 400 <= reply.status < 500 and reply.status != 408 else None
        error = self._refusal(code, message, reply, key)
        if error is None:
            return unknown(self.name, f"HTTP {reply.status}, code {code}, which tells neither yes nor no")
        return Rejected(error=error)

    def _refusal(self, code: int | None, message: str, reply: Reply, key: str) -> ImagegenError | None:
        """The error of a code that says the order was not taken, or None where it does not say so."""
        told = f"nanobanana: {words(message, key) or 'no message'} (code {code})"
        details: dict[str, Any] = {"providerCode": code}
        wait = reply.retry_after(self._clock.now())
        if code == 429:
            return RateLimited(told, details if wait is None else {**details, "retryAfter": wait})
        if code == 455:
            wait = MAINTENANCE_WAIT if wait is None else wait
            return Temporary(told, {**details, "retryAfter": wait, "reason": "maintenance"})
        if code == 400 and _flagged(message):
            return ContentRefused(told, details)
        kind = _REFUSALS.get(code or 0)
        return kind(told, details) if kind else None

    def poll(self, provider_job_id: str) -> Progress:
        """Free. Raises `Temporary`, `RateLimited` or `AuthError` where the question itself failed.

        Whether a failed task is charged is not documented, so a failure says `billed: unknown`.
        """
        key = self._key()
        data = self._ask("nanobanana/record-info", key, {"taskId": provider_job_id})
        if not isinstance(data, Mapping):
            raise Temporary("nanobanana: record-info answered without a task")
        flag, response = _number(data.get("successFlag")), data.get("response")
        if flag == 0:
            return Running()
        if flag in {2, 3}:
            return Failed(error=_failure(flag, data, key))
        url = response.get("resultImageUrl") if isinstance(response, Mapping) else None
        if flag != 1 or not isinstance(url, str) or not url:
            raise Temporary(f"nanobanana: record-info answered flag {flag} without a picture")
        return Ready(url=url, usage={"operationType": str(data.get("operationType") or "")})

    def callback_task(self, body: Any) -> str | None:
        """`data.taskId`: the same place in the callbacks of generate, generate-pro and generate-2.

        https://docs.nanobananaapi.ai/nanobanana-api/generate-or-edit-image-callbacks and generate-image-2-callbacks;
        the pro callback's shape is not documented.
        """
        data = body.get("data") if isinstance(body, Mapping) else None
        task = data.get("taskId") if isinstance(data, Mapping) else None
        return task if isinstance(task, str) and 0 < len(task) <= MAX_TASK_ID else None

    def credit(self) -> Decimal | None:
        """Credits left; the answer's `data` is a number, or an object with `credits`."""
        data = self._ask("common/credit", self._key(), {})
        value = data.get("credits") if isinstance(data, Mapping) else data
        try:
            return None if value is None or isinstance(value, bool) else Decimal(str(value))
        except InvalidOperation:
            return None

    def _ask(self, path: str, key: str, params: Mapping[str, str]) -> Any:
        """The `data` of a free GET; raises where the answer is no success."""
        reply = self._transport.call(
            "GET", f"{self._base}/{path}", headers=_headers(key), params=params, total=POLL_TOTAL,
            max_bytes=MAX_STATUS_BYTES,
        )  # fmt: skip
        code, message, data = _envelope(reply)
        if code == 200 and reply.status < 400:
            return data
        error = self._refusal(code or reply.status, message, reply, key)
        if isinstance(error, AuthError | RateLimited | Temporary):
            raise error
        # A task just accepted may be unknown for a moment; the job's deadline ends the asking.
        details = {UNKNOWN_ORDER: True} if (code or reply.status) in UNKNOWN_TASK else {}
        raise Temporary(f"nanobanana: {path} answered HTTP {reply.status}, code {code}: {words(message, key)}", details)


_REFUSALS: dict[int, type[ImagegenError]] = {
    400: InvalidRequest,
    401: AuthError,
    402: InsufficientCredit,
    403: AuthError,
    404: InvalidRequest,
    405: InvalidRequest,
    413: InvalidRequest,
    422: InvalidRequest,
    501: GenerationFailed,
    505: InvalidRequest,
}


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _images(order: Order) -> list[InputImage]:
    """What is sent along: the source and its mask first, as the prompt speaks of them."""
    return [image for image in (order.source, order.mask, *order.references) if image is not None]


def _generate(order: Order, urls: list[str], callback_url: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": order.prompt,
        "type": "IMAGETOIAMGE" if urls else "TEXTTOIAMGE",
        "numImages": 1,
        "image_size": order.ratio,
        "callBackUrl": callback_url or NO_CALLBACK,
    }
    return {**body, "imageUrls": urls} if urls else body


def _generate_pro(order: Order, urls: list[str], callback_url: str | None) -> dict[str, Any]:
    return {
        "prompt": order.prompt,
        "imageUrls": urls,
        "aspectRatio": order.ratio,
        "resolution": order.tier,
        "callBackUrl": callback_url or NO_CALLBACK,
    }


def _generate_2(order: Order, urls: list[str], callback_url: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": order.prompt,
        "imageUrls": urls,
        "aspectRatio": order.ratio,
        "resolution": order.tier,
        "outputFormat": "png" if order.format == "png" else "jpg",
    }
    return {**body, "callBackUrl": callback_url} if callback_url else body


_BODIES: dict[str, Callable[[Order, list[str], str | None], dict[str, Any]]] = {
    "generate": _generate,
    "generate-pro": _generate_pro,
    "generate-2": _generate_2,
}


def _number(value: Any) -> int | None:
    """An integer that may come as text."""
    try:
        return None if isinstance(value, bool) else int(value)
    except (TypeError, ValueError):
        return None


def _envelope(reply: Reply) -> tuple[int | None, str, Any]:
    """`code`, `msg` or `message`, and `data`; no code where the body is not the API's own envelope."""
    body = parsed(reply)
    if not isinstance(body, Mapping):
        return None, "", None
    return _number(body.get("code")), str(body.get("msg") or body.get("message") or ""), body.get("data")


def _flagged(message: str) -> bool:
    return any(word in message.lower() for word in FLAGGED)


def _failure(flag: int, data: Mapping[str, Any], key: str) -> ImagegenError:
    """A task that ended without a picture: 2 it was never made, 3 drawing failed; code 400 is the content policy."""
    code, message = _number(data.get("errorCode")), str(data.get("errorMessage") or "")
    told = f"nanobanana: {words(message, key) or 'the task failed'} (flag {flag}, code {code})"
    kind = ContentRefused if code == 400 else GenerationFailed
    return kind(told, {"providerCode": code, "billed": "unknown"})
