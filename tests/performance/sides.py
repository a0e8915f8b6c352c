"""The two systems that are measured, each started from nothing: imagegen, and the bare chain on the same parts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from celery import Celery, chain

from imagegen.cli.up import WORKERS, Options, running
from imagegen.embedded.addresses import HOST, free_port
from imagegen.embedded.application import Worker, emulator_child, worker_children, workers_answer
from imagegen.embedded.environment import Plan
from imagegen.embedded.home import Home
from imagegen.embedded.redis import redis_child
from imagegen.embedded.supervisor import Child, Supervisor
from imagegen.settings_values import celery_redis_url
from tests.performance import bare_chain

ROOT = Path(__file__).parents[2]
RESULT = "celery-task-meta-"
SIDE = bare_chain.SIDE


@dataclass(frozen=True)
class Side:
    """A running system. `submit(id, prompt)` hands one job over; its result appears in `redis` under the id."""

    name: str
    roots: Callable[[], dict[str, int]]
    submit: Callable[[str, str], None]
    redis: Any
    fits_pictures: bool
    remembers: bool
    statement_log: Path | None = None


@contextmanager
def emulated(home: Path, latency: str) -> Iterator[str]:
    """The providers as a process of their own, whose CPU is nobody's; yields the address."""
    port = free_port()
    with Supervisor(Home(home), _silent) as supervisor:
        words = ("--plain", "--latency", latency)
        supervisor.start(emulator_child(port, words, dict(os.environ), ROOT))
        yield f"http://{HOST}:{port}"


@contextmanager
def ours(home: Path, provider: str) -> Iterator[Side]:
    """Workers, beat, PostgreSQL (durable, every statement logged) and Redis, as `imagegen up` starts them."""
    log = home / "statements.log"
    told = {"IMAGEGEN_PROVIDERS": "nanobanana", "NANO_BANANA_API_URL": provider}
    plan = Plan.isolated(home, **told)
    options = Options(api=False, flower=False, statement_log=log, report=_silent)
    with running(plan, options) as run, _client(run.settings.redis) as client:
        broker, namespace = run.settings.broker, run.settings.namespace
        with Celery("bench", broker=broker, set_as_current=False) as app:

            def submit(job_id: str, prompt: str) -> None:
                request = {
                    "prompt": prompt,
                    "model": "nano-banana-2",
                    "width": SIDE,
                    "height": SIDE,
                    "format": "jpeg",
                }
                app.send_task("imagegen.generate_image", queue=namespace, task_id=job_id, kwargs={"request": request})

            yield Side("imagegen", run.supervisor.pids, submit, client, True, True, log)


@contextmanager
def bare(home: Path, provider: str, pictures: str) -> Iterator[Side]:
    """The bare chain: the same Redis, the same pools and threads."""
    place = Home(home)
    folder = home / "pictures"
    with Supervisor(place, _silent) as supervisor:
        child, url = redis_child(place)
        supervisor.start(child)
        broker = celery_redis_url(url)
        folder.mkdir()
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "BARE_REDIS": broker,
            "BARE_PROVIDER": provider,
            "BARE_FOLDER": str(folder),
            "BARE_PICTURES": pictures,
        }
        workers = tuple(
            Worker(one.name, (f"{bare_chain.PREFIX}.{one.name}",), one.pool, one.concurrency)
            for one in WORKERS
            if one.name != "housekeeping"
        )
        for worker in worker_children(workers, bare_chain.PREFIX, "info", env, ROOT):
            supervisor.start(_as_bare(worker), wait=False)
        while not workers_answer(broker, workers):
            for worker_name in supervisor.names():
                supervisor.wait_ready(worker_name)
        with _client(url) as client, Celery("bench", broker=broker, set_as_current=False) as app:
            app.conf.task_routes = bare_chain.app.conf.task_routes

            def submit(job_id: str, prompt: str) -> None:
                first, *rest = (f"{bare_chain.PREFIX}.{name}" for name in ("generate", "poll", "download", "upload"))
                links = [app.signature(first, args=(prompt,)), *(app.signature(name) for name in rest)]
                links[-1].set(task_id=job_id)
                chain(*links, app=app).apply_async()

            yield Side("bare chain", supervisor.pids, submit, client, pictures == "same", False)


def _as_bare(child: Child) -> Child:
    words = tuple("tests.performance.bare_chain" if word == "tasks" else word for word in child.command)
    return Child(child.name, words, child.env, child.cwd, grace=child.grace, tier=child.tier)


@contextmanager
def _client(url: str) -> Iterator[Any]:
    client = redis.Redis.from_url(url)
    try:
        yield client
    finally:
        client.close()


def _silent(line: str) -> None:
    """The children's own logs tell more."""
