"""Every error of imagegen, each with `code`, `retryable` and `billed`.

    ImagegenError
    ├── InvalidRequest         INVALID_REQUEST        the request itself is wrong; names field, reason, remedy
    ├── IdempotencyConflict    IDEMPOTENCY_CONFLICT   same owner and key, another body
    ├── NotFound               NOT_FOUND              no such job or batch for this caller
    ├── Conflict               CONFLICT               how the job stands does not allow it
    ├── PurchaseNeeded         PURCHASE_NEEDED        going on costs money once more, and nobody said it may
    ├── BudgetExceeded         BUDGET_EXCEEDED        refused before money moved
    ├── Unauthenticated        UNAUTHENTICATED        no bearer token, or one that does not hold
    ├── Forbidden              FORBIDDEN              the caller's token does not allow this
    ├── TooManyRequests        TOO_MANY_REQUESTS      the caller's own share of requests is used up for the moment
    ├── AuthError              AUTH_ERROR             the provider refuses our key
    ├── InsufficientCredit     INSUFFICIENT_CREDIT    the provider account is empty
    ├── RateLimited            RATE_LIMIT             too fast; `retry_after` seconds where known
    ├── QuotaExhausted         QUOTA_EXHAUSTED        a daily or account quota is used up
    ├── ContentRefused         CONTENT_REFUSED        the provider will not draw this
    ├── Temporary              TEMPORARY              the provider failed; the same call may work later
    ├── GenerationFailed       GENERATION_FAILED      the provider accepted the job and then failed it
    ├── SubmissionUnknown      SUBMISSION_UNKNOWN     a paid call left us and its answer never came
    ├── DeadlineExceeded       DEADLINE_EXCEEDED      the job's time is over
    ├── Cancelled              CANCELLED              somebody cancelled it
    ├── BadArtifact            BAD_ARTIFACT           the file is not the picture it claims to be
    │   └── ArtifactExpired    ARTIFACT_EXPIRED       its URL answers no more; a fresh one may
    ├── StorageError           STORAGE_ERROR          the object store refuses
    ├── PartUnavailable        PART_UNAVAILABLE       PostgreSQL, Redis or the object store cannot be reached
    ├── StillRunning           STILL_RUNNING          no finished document yet; the work goes on
    └── NotServed              NOT_SERVED             this door cannot do that; the message names one which can

An error is rebuilt from its `args` (message, details), so it survives Celery's JSON and pickling.
`billed` says what the provider charged for the failed work: "yes", "no" or "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypedDict
from uuid import UUID

Billed = Literal["yes", "no", "unknown"]


class Problem(TypedDict):
    """One thing wrong with a request: where, why, and what would be right."""

    field: str
    reason: str
    remedy: str


class ImagegenError(Exception):
    """Root of all. `details` is a JSON object; its `retryable` and `billed` override the class's own."""

    code: ClassVar[str] = "ERROR"
    default_retryable: ClassVar[bool] = False
    default_billed: ClassVar[Billed] = "no"

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        super().__init__(message, self.details)

    def __str__(self) -> str:
        return self.message

    @property
    def retryable(self) -> bool:
        """Whether the same job may succeed later without a change by its owner."""
        return bool(self.details.get("retryable", self.default_retryable))

    @property
    def billed(self) -> Billed:
        """Whether the provider charged for it."""
        billed: Billed = self.details.get("billed", self.default_billed)
        return billed

    @property
    def retry_after(self) -> float | None:
        """Seconds the other side asked us to wait, or None where it did not say."""
        value = self.details.get("retryAfter")
        return None if value is None else float(value)

    def document(self, failure_stage: str | None = None) -> dict[str, Any]:
        """The `error` object of a job document."""
        return {
            "code": self.code,
            "message": self.message,
            "failureStage": failure_stage,
            "retryable": self.retryable,
            "billed": self.billed,
        }


class InvalidRequest(ImagegenError):
    """The request is wrong. `problems` names each field, the reason and the remedy."""

    code = "INVALID_REQUEST"

    @classmethod
    def of(cls, field: str, reason: str, remedy: str) -> InvalidRequest:
        """One problem: `field` in the request's own spelling (camelCase, dots for nesting)."""
        return cls.from_problems([{"field": field, "reason": reason, "remedy": remedy}])

    @classmethod
    def from_problems(cls, problems: list[Problem]) -> InvalidRequest:
        """Several problems at once, told in one message."""
        text = "; ".join(f"{p['field']}: {p['reason']}. {p['remedy']}" for p in problems)
        return cls(text, {"problems": problems})

    @property
    def problems(self) -> list[Problem]:
        return list(self.details.get("problems", []))


class IdempotencyConflict(ImagegenError):
    """The owner used this idempotency key for another body; nothing was accepted."""

    code = "IDEMPOTENCY_CONFLICT"


class NotFound(ImagegenError):
    """No such thing, or not this caller's: both answer alike."""

    code = "NOT_FOUND"


class Conflict(ImagegenError):
    """How the job (or batch) stands does not allow what was asked; the message says how it stands."""

    code = "CONFLICT"


class PurchaseNeeded(ImagegenError):
    """The job goes on only if its picture is bought once more; `details["dollars"]` says for how much."""

    code = "PURCHASE_NEEDED"


class BudgetExceeded(ImagegenError):
    """A hard budget has no room for the upper price; nothing was bought."""

    code = "BUDGET_EXCEEDED"


class Unauthenticated(ImagegenError):
    """The caller of the HTTP door sent no token, or one that does not hold."""

    code = "UNAUTHENTICATED"


class Forbidden(ImagegenError):
    """The caller's token does not allow what was asked."""

    code = "FORBIDDEN"


class TooManyRequests(ImagegenError):
    """The caller has used up its share of requests for the moment; `retryAfter` says when there is room again."""

    code = "TOO_MANY_REQUESTS"
    default_retryable = True


class AuthError(ImagegenError):
    """The provider refuses our key, or the account may not use the model."""

    code = "AUTH_ERROR"


class InsufficientCredit(ImagegenError):
    """The provider account has no credit left."""

    code = "INSUFFICIENT_CREDIT"


class RateLimited(ImagegenError):
    """The provider asked us to slow down; the call was not accepted."""

    code = "RATE_LIMIT"
    default_retryable = True


class QuotaExhausted(ImagegenError):
    """A quota that refills on a schedule (a day, a month) is used up."""

    code = "QUOTA_EXHAUSTED"
    default_retryable = True


class ContentRefused(ImagegenError):
    """The provider's policy refuses the prompt or the picture; the same words will be refused again."""

    code = "CONTENT_REFUSED"


class Temporary(ImagegenError):
    """A provider failure that passes: maintenance, overload, a broken connection."""

    code = "TEMPORARY"
    default_retryable = True


class GenerationFailed(ImagegenError):
    """The provider accepted the order and reported a failure of its own."""

    code = "GENERATION_FAILED"
    default_retryable = True


class SubmissionUnknown(ImagegenError):
    """The paid request left us and no answer came: it may have been charged, so it is not repeated."""

    code = "SUBMISSION_UNKNOWN"
    default_billed = "unknown"


class DeadlineExceeded(ImagegenError):
    """The job's deadline passed before its picture came."""

    code = "DEADLINE_EXCEEDED"
    default_retryable = True


class Cancelled(ImagegenError):
    """The job was cancelled by its owner."""

    code = "CANCELLED"


class BadArtifact(ImagegenError):
    """What the provider delivered is not a whole picture of a known type."""

    code = "BAD_ARTIFACT"
    default_retryable = True
    default_billed = "yes"


class ArtifactExpired(BadArtifact):
    """The picture's URL answers 403, 404 or 410; the provider may give a fresh one."""

    code = "ARTIFACT_EXPIRED"


class StorageError(ImagegenError):
    """The object store refuses for good: no such bucket, no permission, no space."""

    code = "STORAGE_ERROR"
    default_retryable = True


class PartUnavailable(ImagegenError):
    """A needed part (PostgreSQL, Redis, the object store) cannot be reached; `details["part"]` names it."""

    code = "PART_UNAVAILABLE"
    default_retryable = True


class StillRunning(ImagegenError):
    """Waiting is over and the job (or batch) is not, or is not known to be; it goes on. `id` names it."""

    code = "STILL_RUNNING"
    default_retryable = True

    @classmethod
    def of(cls, job_id: UUID) -> StillRunning:
        """For the job or batch with this id."""
        return cls(f"{job_id} has no finished document yet", {"id": str(job_id)})

    @property
    def id(self) -> UUID:
        return UUID(str(self.details["id"]))


class NotServed(ImagegenError):
    """The door that was used cannot do what was asked; the message names another one."""

    code = "NOT_SERVED"


def _tree(root: type[ImagegenError]) -> list[type[ImagegenError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


BY_CODE: dict[str, type[ImagegenError]] = {error.code: error for error in _tree(ImagegenError)}


def rebuild(document: Mapping[str, Any]) -> ImagegenError:
    """The error of a job document's `error` object; an unknown code gives the root class."""
    error = BY_CODE.get(str(document["code"]), ImagegenError)
    return error(str(document["message"]), {"retryable": document["retryable"], "billed": document["billed"]})
