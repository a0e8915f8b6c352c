"""Workers that die where a job's prompt says: `celery -A tests.chaos.crashing worker …`.

A prompt with `crash at POINT,POINT #TAG` ends the process by SIGKILL at each of these points, once each and in that
order; a marker file below `CRASH_FOLDER` remembers that it did. A prompt with `pilot` writes down the points it comes
by. A point is a call of a part, before or after: `apply:accept:before`, `put:attempts:after`. Nothing in the product
knows of this: the parts' methods are wrapped here before the application is imported.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

from imagegen.errors import NotFound
from imagegen.providers.gemini import Gemini
from imagegen.providers.nanobanana import NanoBanana
from imagegen.transport import Transport
from storage.blobs import LocalBlobs
from storage.jobs import PostgresJobs
from tasks.canvas import CeleryHints
from tasks.celery import app
from tasks.results import CeleryResults

CRASH_FOLDER = "IMAGEGEN_TEST_CRASH_FOLDER"
FOLDER = Path(os.environ[CRASH_FOLDER])
_WANTED = re.compile(r"crash at (\S+)")
_TAG = re.compile(r"#([0-9a-f]{8})")
_get, _get_batch, _attempt = PostgresJobs.get, PostgresJobs.get_batch, PostgresJobs.attempt
_prompts: dict[UUID, list[str]] = {}
_orders: dict[str, str] = {}
_here = threading.local()
Told = Callable[[tuple[Any, ...], Any], tuple[str, Iterable[str]]]
"""The name of a call and the prompts of the jobs it is about, from its arguments and (afterwards) its answer."""


def visit(prompt: str, point: str) -> None:
    """One job comes by one point."""
    tag = _TAG.search(prompt)
    if tag is None:
        return
    wanted = _WANTED.search(prompt)
    for number, name in enumerate(wanted[1].split(",") if wanted else ()):
        marker = FOLDER / f"{tag[1]}.{number}"
        if marker.exists():
            continue
        if name == point:
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return
    if "pilot" in prompt:
        with (FOLDER / f"{tag[1]}.pilot").open("a") as file:
            file.write(f"{point}\n")


def prompts_of(jobs: PostgresJobs, identity: UUID) -> list[str]:
    """The prompt of a job, or those of a batch's members."""
    if identity not in _prompts:
        try:
            _prompts[identity] = [_get(jobs, identity).prompt]
        except NotFound:
            try:
                _prompts[identity] = [job.prompt for job in _get_batch(jobs, identity)[1]]
            except NotFound:
                return []
    return _prompts[identity]


def here(prompts: Iterable[str]) -> list[str]:
    """These prompts, which this thread works for from here on; those it worked for where none is told."""
    found = list(prompts)
    if found:
        _here.prompts = found
    return found or getattr(_here, "prompts", [])


def _move(args: tuple[Any, ...], answer: Any) -> tuple[str, Iterable[str]]:
    return args[1].name.value, prompts_of(args[0], args[1].job_id)


def _ids(args: tuple[Any, ...], answer: Any) -> tuple[str, Iterable[str]]:
    return "", [prompt for one in args[1] for prompt in prompts_of(args[0], getattr(one, "job_id", one))]


def _one(args: tuple[Any, ...], answer: Any) -> tuple[str, Iterable[str]]:
    return "", prompts_of(args[0], args[1])


def _jobs(args: tuple[Any, ...], answer: Any) -> tuple[str, Iterable[str]]:
    return "", [job.prompt for job in args[1]]


def _found(args: tuple[Any, ...], answer: Any) -> tuple[str, Iterable[str]]:
    for job in answer or ():
        if job.provider_job_id:
            _orders[job.provider_job_id] = job.prompt
    return "", [job.prompt for job in answer or ()]


def _attempts(args: tuple[Any, ...], answer: Any) -> tuple[str, Iterable[str]]:
    return "", [prompt for attempt in answer or () for prompt in prompts_of(args[0], attempt.job_id)]


def _collected(args: tuple[Any, ...], answer: Any) -> tuple[str, Iterable[str]]:
    attempt = _attempt(args[0], args[1].facts.attempt_id)
    return "", prompts_of(args[0], attempt.job_id) if attempt else []


def _attempt_id(args: tuple[Any, ...], answer: Any) -> tuple[str, Iterable[str]]:
    attempt = _attempt(args[0], args[1])
    return "", prompts_of(args[0], attempt.job_id) if attempt else []


def _key(args: tuple[Any, ...], answer: Any) -> tuple[str, Iterable[str]]:
    kind, _, name = args[1].partition("/")
    if kind == "attempts":
        attempt = _attempt(app.services.jobs, UUID(name))
        return kind, here(prompts_of(app.services.jobs, attempt.job_id) if attempt else [])
    picture = "thumbnail" if "_thumb" in args[1] else "picture"
    return picture if kind.startswith("project_") else kind, here([])


def _order(args: tuple[Any, ...], answer: Any) -> tuple[str, Iterable[str]]:
    return "", here([])


def _asked(args: tuple[Any, ...], answer: Any) -> tuple[str, Iterable[str]]:
    return "", [_orders[args[1]]] if args[1] in _orders else here([])


def _identity(args: tuple[Any, ...], answer: Any) -> tuple[str, Iterable[str]]:
    identity = UUID(str(args[1]))
    prompts = prompts_of(app.services.jobs, identity)
    return "batch" if len(prompts) > 1 else "", prompts


CALLS: dict[type, dict[str, Told]] = {
    PostgresJobs: {
        "admit": _jobs, "claim": _move, "apply": _move, "renew": _ids, "pollable": _found, "polled": _ids,
        "due": _found, "unannounced": _found, "announced": _ids, "close_batch": _one, "attempt": _attempt_id,
        "collectable": _attempts, "collected": _collected,
    },
    LocalBlobs: {"put": _key, "get": _key},
    Gemini: {"submit": _order},
    NanoBanana: {"submit": _order, "poll": _asked},
    Transport: {"fetch": _order},
    CeleryHints: {"jobs": _jobs, "collect": lambda args, answer: ("", _collect_hint(args))},
    CeleryResults: {"publish": _identity, "acknowledge": _identity},
}  # fmt: skip
AFTERWARDS = {"due", "unannounced", "pollable", "collectable"}
"""Calls whose jobs are known by their answer alone."""


def _collect_hint(args: tuple[Any, ...]) -> Iterable[str]:
    jobs = app.services.jobs
    attempt = _attempt(jobs, args[1])
    return prompts_of(jobs, attempt.job_id) if attempt else []


def wrapped(name: str, method: Callable[..., Any], told: Told) -> Callable[..., Any]:
    """The method with a point before and a point after it."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        if args[1:2] and isinstance(args[1], Iterable) and not isinstance(args[1], str):
            args = (args[0], list(args[1]), *args[2:])
        if name not in AFTERWARDS:
            _pass(name, "before", told(args, None))
        answer = method(*args, **kwargs)
        if name == "close_batch" and answer is not None:
            with (FOLDER / f"{args[1]}.closed").open("a") as file:
                file.write("closed\n")
        _pass(name, "after", told(args, answer))
        return answer

    return call


def _pass(name: str, side: str, about: tuple[str, Iterable[str]]) -> None:
    detail, prompts = about
    point = ":".join(word for word in (name, detail, side) if word)
    for prompt in here(prompts) if name in {"claim", "apply", "attempt"} else list(prompts):
        visit(prompt, point)


def _seen(self: PostgresJobs, job_id: UUID) -> Any:
    """`PostgresJobs.get`: no point, but this thread works for that job from here on."""
    job = _get(self, job_id)
    here([job.prompt])
    return job


PostgresJobs.get = _seen  # type: ignore[method-assign]
for part, methods in CALLS.items():
    for method_name, about in methods.items():
        setattr(part, method_name, wrapped(method_name, getattr(part, method_name), about))
