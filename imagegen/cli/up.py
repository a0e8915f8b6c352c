"""`imagegen up`: everything that is not configured, started, supervised and stopped together."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import click

from imagegen import catalog, limits
from imagegen.cli.output import emit_error, exit_code
from imagegen.cli.token import mint_here
from imagegen.embedded.addresses import HOST, choose_port, free_port
from imagegen.embedded.application import (
    PAYING_GRACE,
    START_SECONDS,
    Worker,
    api_child,
    application_root,
    beat_child,
    emulator_child,
    flower_child,
    has_api,
    worker_children,
    workers_answer,
)
from imagegen.embedded.environment import Places, Plan, joining, needs_emulator, outside_providers, whole
from imagegen.embedded.home import Home, HomeLock
from imagegen.embedded.instance import Instance, publish, withdraw
from imagegen.embedded.postgres import Postgres
from imagegen.embedded.redis import redis_child
from imagegen.embedded.supervisor import Supervisor, to_stderr
from imagegen.errors import ImagegenError, InvalidRequest, PartUnavailable
from imagegen.settings import Settings
from imagegen.settings_rules import DEVELOPMENT_SECRET, access_problems
from imagegen.settings_values import mask_url

WORKERS = (
    Worker("generate", ("{ns}", "{ns}.generate"), "threads", 16, PAYING_GRACE),
    Worker("poll", ("{ns}.poll",), "threads", 4),
    Worker("transfer", ("{ns}.transfer",), "threads", 4),
    Worker("housekeeping", ("{ns}.housekeeping",), "threads", 2),
)
"""One worker per kind of work, so that none waits behind another. IMAGEGEN_CONCURRENCY changes the first's."""
API_PORT, FLOWER_PORT = 8000, 5555
TOKEN_LIFE = timedelta(days=30)
"""How long the service token that a development `up` prints holds."""


@dataclass(frozen=True)
class Options:
    """What `up` starts beside the parts. `statement_log` has PostgreSQL write every statement there, for counting.

    `supervisor` is the kind that starts the children.
    """

    workers: tuple[Worker, ...] = WORKERS
    beat: bool = True
    api: bool = True
    flower: bool = True
    durable: bool = True
    statement_log: Path | None = None
    emulator: tuple[str, ...] = ()
    report: Callable[[str], None] = to_stderr
    supervisor: type[Supervisor] = Supervisor


@dataclass(frozen=True)
class Running:
    """A started instance: where it is, and its supervisor (`pids()`, `stop(name)`)."""

    instance: Instance
    supervisor: Supervisor

    @property
    def settings(self) -> Settings:
        """The settings of a process that joins."""
        return Settings.load(self.instance.env, Path(self.instance.home))


@contextmanager
def running(plan: Plan, options: Options = Options()) -> Iterator[Running]:
    """Start what the plan asks for, yield when the workers answer, and stop all of it on leaving.

    Raises `InvalidRequest` for settings that must not start, `NotServed` in a bare wheel, `PartUnavailable` for a
    home in use, a busy port, a part that does not start, or migrations pending in a database of the user's own.
    """
    plan.settings.check()
    told = plan.settings
    limits.build(told.rate_limits, told.in_flight, catalog.load(told.prices_file), told.real)
    app_root = application_root(plan.cwd)
    if options.api and has_api(app_root):
        _check_access(told)
    home = Home(plan.settings.home)
    lock = HomeLock(home)
    lock.acquire()
    with ExitStack() as stack:
        stack.callback(lock.release)
        stack.callback(home.remove_short_folders)
        withdraw(home)
        supervisor = stack.enter_context(options.supervisor(home, options.report))
        stack.callback(withdraw, home)
        places = _start_parts(plan, options, home, supervisor, app_root)
        env = joining(plan, places)
        joined = Settings.load(env, home.run)
        for name in joined.provider_names:
            joined.provider(name)
        _migrate(plan, joined, app_root)
        _start_application(plan, options, home, supervisor, app_root, env, places)
        instance = Instance(str(home.path), os.getpid(), _addresses(joined, places), env)
        publish(home, instance)
        yield Running(instance, supervisor)


def _check_access(settings: Settings) -> None:
    """In development a secret is made where none is told."""
    made = settings.environment == "development" and settings.jwt_secret is None
    problems = [] if made else access_problems(settings)
    if problems:
        raise InvalidRequest.from_problems(problems)


def _start_parts(plan: Plan, options: Options, home: Home, supervisor: Supervisor, app_root: Path) -> Places:
    """Start Redis, PostgreSQL and the emulator side by side, where they are not configured."""
    settings = plan.settings
    api_port = (
        choose_port("IMAGEGEN_API_PORT", settings.api_port, API_PORT) if options.api and has_api(app_root) else None
    )
    flower_port = choose_port("IMAGEGEN_FLOWER_PORT", settings.flower_port, FLOWER_PORT) if options.flower else None
    emulator_port = free_port() if needs_emulator(settings) else None
    if settings.redis_embedded:
        child, redis_url = redis_child(home, options.durable)
        supervisor.start(child, wait=False)
    else:
        redis_url = settings.redis
    if emulator_port is not None:
        env = whole(plan, {}, app_root)
        supervisor.start(emulator_child(emulator_port, options.emulator, env, home.run), wait=False)
    if settings.database_embedded:
        postgres = Postgres(home, options.durable, options.statement_log)
        supervisor.start(postgres.child(), wait=False)
        database_url = postgres.url
    else:
        database_url = settings.database
    for name in supervisor.names():
        supervisor.wait_ready(name)
    return Places(
        database_url=database_url,
        redis_url=redis_url,
        emulator=f"http://{HOST}:{emulator_port}" if emulator_port else None,
        api=f"http://{HOST}:{api_port}" if api_port else None,
        api_port=api_port,
        flower_port=flower_port,
        development_secret=home.secret("jwt-secret", DEVELOPMENT_SECRET),
    )


def _migrate(plan: Plan, joined: Settings, app_root: Path) -> None:
    """Bring our own database up to date; a database of the user's own is looked at and never changed."""
    if str(app_root) not in sys.path:
        sys.path.insert(0, str(app_root))
    migrate: Any = importlib.import_module("storage.migrate")
    if plan.settings.database_embedded:
        migrate.upgrade(joined.database, joined.database_schema)
    elif migrate.pending(joined.database, joined.database_schema):
        raise PartUnavailable(
            f"the database {mask_url(joined.database)} lacks migrations. Run: imagegen migrate", {"part": "postgres"}
        )


def _start_application(
    plan: Plan,
    options: Options,
    home: Home,
    supervisor: Supervisor,
    app_root: Path,
    joined: dict[str, str],
    places: Places,
) -> None:
    settings = Settings.load(joined, home.run)
    env = whole(plan, joined, app_root)
    workers = _sized(options.workers, settings.concurrency)
    children = worker_children(workers, settings.namespace, settings.log_level, env, plan.cwd)
    if options.beat:
        children.append(beat_child(home, settings.log_level, env, plan.cwd))
    if places.api_port is not None:
        children.append(api_child(places.api_port, settings.log_level, env, plan.cwd))
    elif options.api:
        options.report("no HTTP API: install imagegen-celery[api]")
    if places.flower_port is not None:
        children.append(flower_child(places.flower_port, env, plan.cwd))
    for child in children:
        supervisor.start(child, wait=False)
    for child in children:
        supervisor.wait_ready(child.name)
    _wait_for_workers(settings.broker, workers, supervisor)


def _sized(workers: Iterable[Worker], concurrency: int | None) -> tuple[Worker, ...]:
    first, *others = workers
    if concurrency is not None:
        first = replace(first, concurrency=concurrency)
    return (first, *others)


def _wait_for_workers(broker: str, workers: tuple[Worker, ...], supervisor: Supervisor) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not workers_answer(broker, workers):
        if time.monotonic() > deadline:
            raise PartUnavailable("the workers do not answer; see the logs in the home", {"part": "workers"})
        for worker in workers:
            supervisor.wait_ready(worker.name)


def _addresses(joined: Settings, places: Places) -> dict[str, str]:
    """What `up` prints, secrets masked."""
    provider = " ".join(joined.provider_names) if joined.real else ""
    outside = " ".join(outside_providers(joined).values())
    found = {
        "postgres": mask_url(joined.database.replace("+psycopg2", "")),
        "redis": mask_url(joined.redis),
        "storage": joined.storage,
        "provider": provider or places.emulator or outside,
        "api": places.api,
        "flower": f"http://{HOST}:{places.flower_port}" if places.flower_port else None,
    }
    return {name: address for name, address in found.items() if address}


def address_lines(addresses: Mapping[str, str], settings: Settings) -> Iterator[str]:
    """`NAME ADDRESS` for each part; where money is real, `provider NAME REAL` for each provider.

    In development a service token follows the addresses.
    """
    for name, address in addresses.items():
        if name == "provider" and settings.real:
            yield from (f"provider {provider} REAL" for provider in settings.provider_names)
        else:
            yield f"{name} {address}"
    if "api" in addresses and settings.environment == "development" and settings.jwt_secret is not None:
        yield f"token {mint_here(settings, 'default', service=True, ttl=TOKEN_LIFE)}"


class _Stopped(BaseException):
    """SIGINT or SIGTERM: unwinds through every context manager, and is nobody's error."""


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into an orderly end; later ones do not disturb it."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Stopped:
        pass
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@click.command()
@click.pass_context
def up(ctx: click.Context) -> None:
    """Start what is not configured and run it all until Ctrl-C.

    Runs the workers, beat, the HTTP API and Flower.
    """
    try:
        with _stoppable(), running(Plan.here()) as started:
            for line in address_lines(started.instance.addresses, started.settings):
                click.echo(line)
            click.echo("ready; Ctrl-C stops it")
            sys.stdout.flush()
            threading.Event().wait()
    except ImagegenError as error:
        emit_error(error, as_json=False)
        ctx.exit(exit_code(error))
