"""What users send and get: one request, one job document, one batch document, at every door.

Field names are camelCase outside and snake_case inside. Unknown fields are refused, not ignored: a misspelt
`widht` must not buy a picture of the wrong size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel, to_snake

from imagegen.bounds import in_calendar
from imagegen.errors import InvalidRequest, Problem
from imagegen.parsing import A_DATE, ADDRESS, parse_as

MAX_PROMPT = 20_000
MAX_BATCH = 4
MIN_SIDE, MAX_SIDE = 64, 8192
FRAME_SIZE = (1920, 1080)


class JobType(StrEnum):
    """What the picture is for: decides its storage path and which fields it needs."""

    MASTER_ASSET = "master_asset"
    START_FRAME = "start_frame"
    END_FRAME = "end_frame"
    INPAINT = "inpaint"


class Format(StrEnum):
    """File format of the published picture."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


class Priority(StrEnum):
    """Order among waiting jobs; waiting long enough lifts any of them."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, max_length=4_000)]
ImageRef = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64 * 1024 * 1024)]


class Wire(BaseModel):
    """camelCase outside, snake_case inside, nothing unknown."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, protected_namespaces=()
    )


class Character(Wire):
    """A character brief. Further keys of one's own are welcome and reach the prompt as `key: value`."""

    model_config = ConfigDict(extra="allow", frozen=True, alias_generator=to_camel, populate_by_name=True)

    name: Name
    description: Words = ""
    pose: Words = ""
    expression: Words = ""
    outfit: Words = ""
    setting: Words = ""


class Style(Wire):
    """A visual style capsule: the words, colours and references that make several pictures look alike."""

    name: Name
    modifiers: list[Words] = Field(default_factory=list, max_length=40)
    palette: list[Words] = Field(default_factory=list, max_length=24)
    avoid: list[Words] = Field(default_factory=list, max_length=40)
    references: list[ImageRef] = Field(default_factory=list, max_length=14)


class NotifyTask(Wire):
    """A Celery task of the caller's which gets the finished document."""

    name: Name
    queue: Name


class ImageRequest(Wire):
    """One picture asked for. The same fields over HTTP, Celery, the command line, and in a batch."""

    prompt: Annotated[str, StringConstraints(strip_whitespace=True)] | None = None
    character: Character | None = None
    job_type: JobType = JobType.MASTER_ASSET
    project_id: Name = "default"
    branch_id: Name = "main"
    scene_id: Name | None = None
    shot_id: Name | None = None
    asset_id: Name | None = None
    style: Style | None = None
    visual_style_capsule_id: Name | None = None
    reference_images: list[ImageRef] = Field(default_factory=list, max_length=14)
    source_image: ImageRef | None = None
    mask: ImageRef | None = None
    width: int | None = Field(default=None, ge=MIN_SIDE, le=MAX_SIDE)
    height: int | None = Field(default=None, ge=MIN_SIDE, le=MAX_SIDE)
    format: Format = Format.PNG
    model: Name | None = None
    provider: Name | None = None
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    priority: Priority = Priority.NORMAL
    scheduled_at: Annotated[datetime, AfterValidator(in_calendar)] | None = None
    deadline_seconds: int | None = Field(default=None, ge=1, le=30 * 24 * 3600)
    max_paid_attempts: int | None = Field(default=None, ge=1, le=10)
    fresh: bool = False
    placeholder: Literal["never", "on_failure"] = "never"
    on_budget: Literal["fail", "cheaper"] = "fail"
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    owner: Name = "default"
    callback_url: Annotated[str, StringConstraints(pattern=ADDRESS, max_length=2_000)] | None = None
    notify_task: NotifyTask | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        problems = list(_request_problems(self))
        if problems:
            raise InvalidRequest.from_problems(problems)
        return self


def _request_problems(request: ImageRequest) -> list[Problem]:
    """What no single field can tell: words, sizes, edits, styles."""
    found: list[Problem] = []

    def wrong(field: str, reason: str, remedy: str) -> None:
        found.append({"field": field, "reason": reason, "remedy": remedy})

    _wrong_words(request, wrong)
    if (request.width is None) != (request.height is None):
        missing = "width" if request.width is None else "height"
        wrong(missing, "is missing while its pair is given", "Send both width and height, or neither.")
    edit = request.job_type is JobType.INPAINT
    for field, value in (("sourceImage", request.source_image), ("mask", request.mask)):
        if edit and value is None:
            wrong(field, "is missing", "An inpaint job needs sourceImage and mask.")
        if not edit and value is not None:
            wrong(field, f"is not used by {request.job_type}", 'Send jobType "inpaint", or leave it out.')
    if request.style is not None and request.visual_style_capsule_id is not None:
        wrong("style", "is given together with visualStyleCapsuleId", "Send one of the two.")
    if request.scheduled_at is not None and request.scheduled_at.tzinfo is None:
        wrong("scheduledAt", "has no time zone", f"Write it as RFC 3339, for example {A_DATE}.")
    return found


def _wrong_words(request: ImageRequest, wrong: Callable[[str, str, str], None]) -> None:
    if request.prompt is not None and not request.prompt:
        wrong("prompt", "is empty", "Say what the picture shows, or send a character brief.")
    elif request.prompt is None and request.character is None:
        wrong("prompt", "neither prompt nor character is given", "Send a prompt, a character brief, or both.")
    elif request.prompt and len(request.prompt) > MAX_PROMPT:
        wrong("prompt", f"has {len(request.prompt)} characters", f"Shorten it to {MAX_PROMPT}.")


class BatchRequest(Wire):
    """One to four pictures admitted together: `characters` or `requests`, plus defaults for every member."""

    model_config = ConfigDict(
        extra="allow", frozen=True, alias_generator=to_camel, populate_by_name=True, protected_namespaces=()
    )

    characters: list[Character] | None = None
    requests: list[dict[str, Any]] | None = None
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    owner: Name = "default"
    callback_url: Annotated[str, StringConstraints(pattern=ADDRESS, max_length=2_000)] | None = None
    notify_task: NotifyTask | None = None

    def members(self) -> list[ImageRequest]:
        """The full request of each member, in input order.

        Raises `InvalidRequest` with fields like `characters.2.name` or `requests.0.width`.
        """
        found = self._rows()
        defaults = {**(self.model_extra or {}), "owner": self.owner}
        requests: list[ImageRequest] = []
        problems: list[Problem] = []
        field = "requests" if self.requests is not None else "characters"
        for index, row in enumerate(found):
            try:
                requests.append(parse_request({**defaults, **row}))
            except InvalidRequest as error:
                problems += [{**problem, "field": f"{field}.{index}.{problem['field']}"} for problem in error.problems]
        if problems:
            raise InvalidRequest.from_problems(problems)
        return requests

    def _rows(self) -> list[dict[str, Any]]:
        if (self.characters is None) == (self.requests is None):
            raise InvalidRequest.of("characters", "send either characters or requests", "Give exactly one of the two.")
        if self.requests is not None:
            field, rows = "requests", list(self.requests)
        else:
            field = "characters"
            rows = [{"character": one.model_dump(by_alias=True)} for one in self.characters or []]
        if not 1 <= len(rows) <= MAX_BATCH:
            raise InvalidRequest.of(
                field, f"has {len(rows)} members", f"A batch holds one to {MAX_BATCH}; send several batches for more."
            )
        for row in rows:
            for name in ("idempotencyKey", "callbackUrl", "notifyTask", "owner"):
                if name in row or to_snake(name) in row:
                    raise InvalidRequest.of(f"{field}.{name}", "belongs to the batch", "Give it once, on the batch.")
        return rows


def parse_request(body: Mapping[str, Any]) -> ImageRequest:
    """The request of a JSON object; raises `InvalidRequest` that names every wrong field."""
    return parse_as(ImageRequest, body)


def parse_batch(body: Mapping[str, Any]) -> BatchRequest:
    """The batch of a JSON object; raises `InvalidRequest`. Its members are checked by `members()`."""
    return parse_as(BatchRequest, body)


def parse_style(body: Mapping[str, Any]) -> Style:
    """The style capsule of a JSON object; raises `InvalidRequest`."""
    return parse_as(Style, body)


def rfc3339(moment: datetime | None) -> str | None:
    """`2026-11-21T09:30:00.123Z`, always UTC."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Document(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", protected_namespaces=())

    def json_document(self) -> dict[str, Any]:
        """The JSON object, camelCase, every key there."""
        return self.model_dump(mode="json", by_alias=True)


class Cost(_Document):
    """US dollars, at most six decimals; `actual` is null until known and 0 for a cache hit.

    `waste` was paid for nothing (a charged refusal, a picture that came after a cancel), `uncertain` may have been
    charged: neither is part of `actual`.
    """

    estimated: float | None = None
    actual: float | None = None
    waste: float | None = None
    uncertain: float | None = None
    currency: str = "USD"


class JobError(_Document):
    """Why a job failed, whether trying again makes sense, and whether the provider charged."""

    code: str
    message: str
    failure_stage: str | None = None
    retryable: bool = False
    billed: Literal["yes", "no", "unknown"] = "no"


class WaitingFor(_Document):
    """Why a live job rests, and until when at the latest."""

    reason: str
    until: str | None = None


class StyleRef(_Document):
    """Which style capsule shaped the picture: its name and the digest of its content."""

    name: str
    sha256: str


class JobDocument(_Document):
    """A job as its owner sees it, the same at every door. Every key is always there, null when unknown."""

    job_id: UUID
    batch_id: UUID | None = None
    index: int | None = None
    status: str
    stage: str | None = None
    progress: float = 0.0
    waiting_for: WaitingFor | None = None
    job_type: str | None = None
    project_id: str | None = None
    branch_id: str | None = None
    scene_id: str | None = None
    shot_id: str | None = None
    asset_id: str | None = None
    character: str | None = None
    owner: str | None = None
    prompt: str | None = None
    sent_prompt: str | None = None
    style: StyleRef | None = None
    visual_style_capsule_id: str | None = None
    provider: str | None = None
    model: str | None = None
    tried: list[str] = Field(default_factory=list)
    width: int | None = None
    height: int | None = None
    public_url: str | None = None
    thumbnail_url: str | None = None
    sha256: str | None = None
    content_type: str | None = None
    bytes: int | None = None
    placeholder: bool = False
    emulated: bool = False
    cache_hit: bool = False
    cost: Cost = Field(default_factory=Cost)
    billed: Literal["yes", "no", "unknown"] = "no"
    attempts: int = 0
    run: int = 1
    priority: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    scheduled_at: str | None = None
    erased_at: str | None = None
    error: JobError | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class BatchDocument(_Document):
    """A batch and its members in input order."""

    batch_id: UUID
    status: str
    jobs: list[JobDocument]
    cost: Cost
    created_at: str | None = None
    completed_at: str | None = None


def rejected_document(job_id: UUID, error: Mapping[str, Any]) -> dict[str, Any]:
    """The finished document of a job that was never accepted: it failed before a row was written."""
    return JobDocument(job_id=job_id, status="failed", progress=1.0, error=JobError(**error)).json_document()
