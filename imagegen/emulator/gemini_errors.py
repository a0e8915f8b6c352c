"""The Gemini API's refusals, in the words and envelopes of the real one (google.rpc.Status with details)."""

from __future__ import annotations

import math
from typing import Any

from imagegen.emulator.faults import Rule
from imagegen.emulator.gemini_request import InvalidArgument
from imagegen.emulator.limits import Excess
from imagegen.emulator.wire import DROP, Reply, json_reply

_TYPE = "type.googleapis.com/google.rpc."
DEAD = frozenset(
    {
        "gemini-2.5-flash-image",
        "gemini-2.5-flash-image-preview",
        "gemini-3-pro-image-preview",
        "gemini-3.1-flash-image",
        "gemini-3.1-flash-image-preview",
    }
)


def no_model(name: str) -> Reply:
    """404: an id that is dead, or that never was."""
    if name in DEAD:
        words = f"This model models/{name} is no longer available. Please update your code to use a newer model."
        return error(404, "NOT_FOUND", words)
    return error(
        404,
        "NOT_FOUND",
        f"models/{name} is not found for this API version, or is not supported for generateContent. Call ListModels "
        "to see the list of available models and their supported methods.",
    )


def refused(rule: Rule | None) -> Reply | None:
    """The answer of a fault that does no work, or None."""
    if rule is None:
        return None
    if rule.fault == "not_charged_drop":
        return DROP
    if rule.fault == "rate_limit":
        return _rate_limited(rule)
    if rule.fault == "bad_key":
        leaked = "Your API key was reported as leaked. Please use another API key."
        return error(403, "PERMISSION_DENIED", leaked) if rule.params["http_status"] == 403 else bad_key()
    if rule.fault == "no_credit":
        words = "This API method requires billing to be enabled, and the account's prepaid credit is used up."
        return error(int(rule.params["http_status"] or 400), "FAILED_PRECONDITION", words)
    if rule.fault == "maintenance":
        return error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
    if rule.fault == "server_error":
        status = int(rule.params["status"])
        word = {503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}.get(status, "INTERNAL")
        return error(status, word, "An internal error has occurred. Please retry.")
    return None


def too_many(excess: Excess) -> Reply:
    """429: the limit that was met, and when to come again."""
    return _limited("PerMinute", excess.limit.count, f"{math.ceil(excess.wait * 1000) / 1000}s")


def _rate_limited(rule: Rule) -> Reply:
    reply = _limited("PerDay" if rule.params["per_day"] else "PerMinute", 60, rule.params["retry_delay"])
    if rule.params["retry_after"] is not None:
        reply.headers["Retry-After"] = str(rule.params["retry_after"])
    return reply


def _limited(span: str, count: int, delay: Any) -> Reply:
    quota = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
        "quotaId": f"GenerateRequests{span}PerProjectPerModel",
        "quotaDimensions": {"location": "global", "model": "gemini-image"},
        "quotaValue": str(count),
    }
    details: list[dict[str, Any]] = [
        {"@type": f"{_TYPE}QuotaFailure", "violations": [quota]},
        {"@type": f"{_TYPE}Help", "links": [{"description": "Learn more about Gemini API quotas"}]},
    ]
    if delay is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": str(delay)})
    return error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", details)


def bad_key() -> Reply:
    """400 API_KEY_INVALID: a key nobody gave out."""
    info = {"reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    details = [{"@type": f"{_TYPE}ErrorInfo", **info, "metadata": {"service": "generativelanguage.googleapis.com"}}]
    return error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", details)


def invalid(wrong: InvalidArgument) -> Reply:
    """400 with the field named where the service names it."""
    violation = {"field": wrong.path, "description": str(wrong)}
    details = [{"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]}] if wrong.path else []
    return error(400, "INVALID_ARGUMENT", str(wrong), details)


def error(code: int, status: str, message: str, details: list[dict[str, Any]] | None = None) -> Reply:
    """Google's error envelope."""
    document: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        document["details"] = details
    return json_reply({"error": document}, code)
