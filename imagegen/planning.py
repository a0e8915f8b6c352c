"""From a request to the job it would become: checked, its pictures read, its prompt, model and price decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from imagegen import models, policies
from imagegen.checks import Problems, check_metadata, check_pair, check_schedule, check_targets, check_text
from imagegen.contracts import FRAME_SIZE, MAX_SIDE, MIN_SIDE, BatchRequest, ImageRequest, JobType, Style
from imagegen.errors import InvalidRequest, NotFound
from imagegen.fingerprint import Shape, body_sha256, fingerprint
from imagegen.ids import member_id_for
from imagegen.inputs import Door, all_refs, with_stored_inputs
from imagegen.jobs import PRIORITIES, Job
from imagegen.layout import slug
from imagegen.models import Choice
from imagegen.ports import Services
from imagegen.prompts import Rendered, check_length, load_templates, render
from imagegen.references import Input, Resolver, check_reachable
from imagegen.states import Stage, Status

SCHEDULED = "scheduled"
"""`waitingFor.reason` of a job whose `scheduledAt` lies ahead."""


@dataclass(frozen=True, kw_only=True)
class _Pictures:
    """The verified pictures of a request: its own references first, then the style's."""

    source: Input | None
    mask: Input | None
    references: tuple[Input, ...]
    style_references: tuple[Input, ...]

    @property
    def sent(self) -> list[Input]:
        first = [one for one in (self.source, self.mask) if one is not None]
        return [*first, *self.references, *self.style_references]

    @property
    def planned(self) -> dict[str, Any]:
        """As a job's plan keeps them, JSON."""
        return {
            "references": [*self.references, *self.style_references],
            "source": self.source,
            "mask": self.mask,
        }


class Planner:
    """Plans the members of one admission at one moment; a picture that several of them name is read once."""

    def __init__(self, services: Services, door: Door, owner: str) -> None:
        self.now = services.clock.now()
        self._services = services
        self._door: Door = door
        self._resolver = Resolver(services, door=door, owner=owner)
        self._templates = load_templates(services.templates)

    def readied(self, request: ImageRequest) -> ImageRequest:
        """The request fit to be kept: writable text only, its own bytes stored and named by digest."""
        check_text(request.model_dump(by_alias=True))
        return with_stored_inputs(request, door=self._door, blobs=self._services.blobs)

    def plan_members(
        self, batch: BatchRequest, members: Sequence[ImageRequest], batch_id: UUID, problems: Problems
    ) -> tuple[list[ImageRequest], list[Job]]:
        """The readied requests and the jobs of those members that have no problem."""
        field = "requests" if batch.requests is not None else "characters"
        ready: list[ImageRequest] = []
        jobs: list[Job] = []
        for index, member in enumerate(members):
            with problems.collected(f"{field}.{index}."):
                ready.append(self.readied(member))
                job_id = member_id_for(batch_id, index)
                jobs.append(self.plan(ready[-1], job_id=job_id, batch_id=batch_id, index=index))
        return ready, jobs

    def plan(
        self, request: ImageRequest, *, job_id: UUID, batch_id: UUID | None = None, index: int | None = None
    ) -> Job:
        """The job of a readied request. Raises `InvalidRequest` with every problem."""
        problems = Problems()
        with problems.collected():
            check_targets(request, signing=self._services.signer is not None, allow_hosts=self._services.allow_hosts)
        with problems.collected():
            check_metadata(request.metadata)
        with problems.collected():
            check_schedule(request, self.now)
        style: Style | None = None
        with problems.collected():
            style = self._style(request)
        pictures = self._pictures(request, style, problems)
        rendered = render(
            request, style, self._templates,
            references=len(pictures.references), style_references=len(pictures.style_references),
        )  # fmt: skip
        with problems.collected():
            choice = self._choice(request, pictures, rendered)
            check_length(request, rendered.sent_prompt, limit=choice.max_prompt, model=choice.model)
            check_reachable(pictures.sent, self._services, self._services.providers[choice.provider])
        problems.check()
        job = self._job(request, choice, rendered, pictures, job_id)
        return replace(job, batch_id=batch_id, batch_index=index)

    def _style(self, request: ImageRequest) -> Style | None:
        style_id = request.visual_style_capsule_id
        if style_id is None:
            return request.style
        try:
            return self._services.styles.get(style_id, owner=request.owner)
        except NotFound as error:
            raise InvalidRequest.of(
                "visualStyleCapsuleId", f"there is no style {style_id!r}", "Put it first: imagegen styles put ID FILE."
            ) from error

    def _pictures(self, request: ImageRequest, style: Style | None, problems: Problems) -> _Pictures:
        style_field = "style.references" if request.style is not None else "visualStyleCapsuleId.references"
        read: dict[str, Input] = {}
        for field, ref in all_refs(request, style, style_field):
            with problems.collected():
                read[field] = self._resolver.resolve(ref, field)
        source, mask = read.pop("sourceImage", None), read.pop("mask", None)
        with problems.collected():
            check_pair(source, mask)
        return _Pictures(
            source=source, mask=mask,
            references=tuple(one for field, one in read.items() if not field.startswith(style_field)),
            style_references=tuple(one for field, one in read.items() if field.startswith(style_field)),
        )  # fmt: skip

    def _choice(self, request: ImageRequest, pictures: _Pictures, rendered: Rendered) -> Choice:
        width, height = _size(request, pictures.source)
        return models.select(
            self._services.catalog, request_model=request.model, request_provider=request.provider,
            job_type=request.job_type, width=width, height=height, references=len(pictures.sent),
            providers=list(self._services.providers), today=self.now.date(),
            published=request.format, prompt_length=len(rendered.sent_prompt),
        )  # fmt: skip

    def _job(self, request: ImageRequest, choice: Choice, rendered: Rendered, pictures: _Pictures, job_id: UUID) -> Job:
        """The row. Later than asked means now: a `scheduledAt` in the past is due at once."""
        services, character = self._services, request.character
        width, height = _size(request, pictures.source)
        start = max(request.scheduled_at or self.now, self.now)
        allowed = timedelta(seconds=request.deadline_seconds) if request.deadline_seconds else services.deadline
        later = start > self.now
        offered = offer_fields(
            choice, pictures.planned, sent_prompt=rendered.sent_prompt, width=width, height=height,
            format=request.format.value, seed=request.seed, emulated=services.emulated,
        )  # fmt: skip
        return Job(
            id=job_id, owner=request.owner, status=Status.QUEUED, stage=Stage.GENERATE,
            job_type=request.job_type.value, project_id=request.project_id, branch_id=request.branch_id,
            scene_id=request.scene_id, shot_id=request.shot_id,
            asset_id=request.asset_id or (slug(character.name) if character else None),
            character=character.name if character else None,
            width=width, height=height, format=request.format.value, created_at=self.now, updated_at=self.now,
            scheduled_at=request.scheduled_at, next_run_at=start if later else self.now + policies.GRACE,
            deadline_at=start + allowed, waiting_for=SCHEDULED if later else None,
            priority=PRIORITIES[request.priority.value], prompt=rendered.user_words,
            sent_prompt=rendered.sent_prompt, style_name=rendered.style_name, style_sha256=rendered.style_sha256,
            visual_style_capsule_id=request.visual_style_capsule_id,
            request=request.model_dump(mode="json", by_alias=True, exclude_none=True),
            fresh=request.fresh,
            max_paid_attempts=request.max_paid_attempts or services.max_paid_attempts,
            idempotency_key=request.idempotency_key, body_sha256=body_sha256(request),
            emulated=services.emulated, metadata=request.metadata, **offered,
        )  # fmt: skip


def plan_image(
    request: ImageRequest,
    services: Services,
    *,
    door: Door,
    job_id: UUID | None = None,
    batch: UUID | None = None,
    index: int | None = None,
) -> Job:
    """The job a request would become: checked, its pictures read and kept, its prompt, model and price decided.

    Nothing is written to the database. Raises `InvalidRequest` with every problem.
    """
    planner = Planner(services, door, request.owner)
    return planner.plan(planner.readied(request), job_id=job_id or uuid4(), batch_id=batch, index=index)


def offer_fields(
    choice: Choice,
    pictures: Mapping[str, Any],
    *,
    sent_prompt: str,
    width: int,
    height: int,
    format: str,
    seed: int | None,
    emulated: bool,
) -> dict[str, Any]:
    """What a job's row says of where its picture is bought: provider, model, plan, upper price and fingerprint.

    `pictures`: the verified inputs as a plan keeps them (`references`, `source`, `mask`). The plan is what the
    provider will be told beside the prompt, as JSON. Sizes in pixels.
    """
    source, mask = pictures.get("source"), pictures.get("mask")
    shape = Shape(
        sent_prompt=sent_prompt, model=choice.model, ratio=choice.ratio, tier=choice.tier, width=width, height=height,
        format=format, emulated=emulated, seed=seed,
        references=tuple(one["sha256"] for one in pictures.get("references", ())),
        source=source["sha256"] if source else None, mask=mask["sha256"] if mask else None,
    )  # fmt: skip
    plan = {
        "ratio": choice.ratio,
        "tier": choice.tier,
        "format": choice.format,
        "providerModel": choice.provider_model,
        "references": list(pictures.get("references", ())),
        "source": source,
        "mask": mask,
        "warnings": list(choice.warnings),
        "price": dict(choice.price),
    }
    return {
        "provider": choice.provider, "model": choice.model, "plan": plan, "fingerprint": fingerprint(shape),
        "cost_estimated": choice.estimate,
    }  # fmt: skip


def _size(request: ImageRequest, source: Input | None) -> tuple[int, int]:
    """Width and height in pixels: as asked, else the edited picture's own, else a frame's."""
    if request.width is not None and request.height is not None:
        return request.width, request.height
    if request.job_type is not JobType.INPAINT or source is None:
        return FRAME_SIZE
    for name in ("width", "height"):
        if not MIN_SIDE <= source[name] <= MAX_SIDE:
            raise InvalidRequest.of(
                "sourceImage",
                f"is {source['width']}x{source['height']} pixels",
                f"Send a picture of {MIN_SIDE} to {MAX_SIDE} pixels a side, or width and height of the result.",
            )
    return source["width"], source["height"]
