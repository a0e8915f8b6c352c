"""The one composition root: settings become parts, once per process."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from imagegen import catalog, limits, policies
from imagegen.clock import SystemClock
from imagegen.embedded.instance import find_instance
from imagegen.errors import InvalidRequest, PartUnavailable
from imagegen.heartbeat import Heartbeat
from imagegen.links import FileSigner, Links
from imagegen.ports import Services
from imagegen.providers.registry import build_providers
from imagegen.records import Watch
from imagegen.retention import lives
from imagegen.settings import Settings
from imagegen.settings_rules import file_problems
from imagegen.transport import Transport
from storage.alerts import PostgresAlerts
from storage.blobs import LocalBlobs, S3Blobs, open_blobs
from storage.books import PostgresBooks
from storage.breaker import RedisBreaker
from storage.budgets import PostgresBudgets
from storage.callbacks import PostgresCallbacks
from storage.costs import PostgresCosts
from storage.deliveries import PostgresDeliveries
from storage.engine import Database
from storage.erasing import PostgresErasures
from storage.event_log import PostgresEventLog
from storage.jobs import PostgresJobs
from storage.metrics import PostgresMetrics
from storage.pauses import PostgresPauses
from storage.styles import PostgresStyles
from tasks.canvas import CeleryHints
from tasks.results import CeleryResults

CHECK_TOTAL = 2.0
"""Seconds that Redis or the broker may take to say that it is there."""

_building = threading.Lock()
_built: dict[int, Services] = {}


@cache
def settings() -> Settings:
    """The environment's settings; where it names no database, those of the `imagegen up` that answers in the home."""
    environ = dict(os.environ)
    loaded = Settings.load(environ, Path.cwd())
    if loaded.database_embedded:
        instance = find_instance(loaded.home)
        if instance is not None:
            return Settings.load({**environ, **instance.env}, Path.cwd())
    return loaded


def build(app: Celery) -> Services:
    """This process's services. Connections are never carried over a fork: each pid builds its own."""
    pid = os.getpid()
    with _building:
        if pid not in _built:
            _built.clear()
            _built[pid] = _services(app, settings())
        return _built[pid]


def _services(app: Celery, told: Settings) -> Services:
    told.check()
    clock = SystemClock()
    blobs, links = _addresses(told, clock)
    transport = Transport(clock)
    models = catalog.load(told.prices_file)
    database = Database(told.database, told.database_schema)
    jobs = PostgresJobs(database, cache_ttl=None if told.cache_ttl is None else timedelta(seconds=told.cache_ttl))
    return Services(
        jobs=jobs,
        costs=PostgresCosts(database),
        books=PostgresBooks(database),
        alerts=PostgresAlerts(database),
        pauses=PostgresPauses(database),
        budgets=PostgresBudgets(database, emulated=not told.real),
        styles=PostgresStyles(database),
        deliveries=PostgresDeliveries(database, links),
        erasures=PostgresErasures(database),
        event_log=PostgresEventLog(database),
        callbacks=PostgresCallbacks(database),
        metrics=PostgresMetrics(database),
        blobs=blobs,
        breaker=RedisBreaker(told.redis, told.namespace, clock),
        hints=CeleryHints(app, clock),
        results=CeleryResults(app, told.namespace),
        providers=build_providers(told, transport, models, clock),
        transport=transport,
        catalog=models,
        clock=clock,
        emulated=not told.real,
        worker=f"{socket.gethostname()}-{os.getpid()}",
        callback_base_url=told.callback_base_url,
        deadline=timedelta(seconds=told.deadline),
        max_paid_attempts=told.max_paid_attempts,
        allow_hosts=told.allow_hosts,
        signer=told.signer(),
        templates=None if told.templates is None else str(told.templates),
        storage_url=told.storage,
        links=links,
        lives=lives(told.retention),
        watch=_watch(told),
        limits=limits.build(told.rate_limits, told.in_flight, models, told.real),
        heartbeat=Heartbeat(lambda held: jobs.renew(held, until=clock.now() + policies.LEASE)),
    )


def _addresses(told: Settings, clock: SystemClock) -> tuple[LocalBlobs | S3Blobs, Links]:
    """The object store, and how documents name what lies there. Raises `InvalidRequest`."""
    problems = file_problems(told)
    if problems:
        raise InvalidRequest.from_problems(problems)
    secret = told.jwt_secret
    files = None if secret is None else FileSigner(secret.get_secret_value(), clock.now)
    blobs = open_blobs(
        told.storage,
        endpoint_url=told.s3_endpoint_url,
        public_endpoint_url=told.s3_public_endpoint_url,
        public_base_url=told.public_base_url,
        aws=told.aws_environ(),
        files=files,
    )
    if told.urls == "public":
        return blobs, Links(files=files)
    ttl = timedelta(seconds=told.url_ttl)
    return blobs, Links(sign=lambda key: blobs.presigned_url(key, ttl), files=files)


def part_checks(app: Celery) -> dict[str, Callable[[], None]]:
    """What must answer before the HTTP door can serve; each raises `PartUnavailable` or `StorageError`.

    The connections are their own, so that a busy pool never looks like a part that is away.
    """
    told = settings()
    database = Database(told.database, told.database_schema, threads=1)
    quick = {"socket_timeout": CHECK_TOTAL, "socket_connect_timeout": CHECK_TOTAL}
    server = redis.Redis.from_url(told.redis, **quick)

    def broker() -> None:
        with _away("broker"), app.connection_for_write(connect_timeout=CHECK_TOTAL) as connection:
            connection.ensure_connection(max_retries=1, timeout=CHECK_TOTAL)

    def backend() -> None:
        with _away("redis"):
            server.ping()

    return {
        "postgres": database.check,
        "redis": backend,
        "broker": broker,
        "storage": lambda: app.services.blobs.check(),
    }


@contextmanager
def _away(part: str) -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OperationalError, OSError) as error:
        raise PartUnavailable(f"{part}: {error}", {"part": part}) from error


def _watch(told: Settings) -> Watch:
    url = told.alert_webhook_url
    return Watch(
        credit_low=told.credit_low, spend_per_hour=told.spend_alert, webhook_url=url.get_secret_value() if url else None
    )
