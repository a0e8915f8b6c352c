"""The Celery door's wire: a task by name into the broker, its finished document out of the result backend.

Bounded in every direction: a dead or mute broker is told within seconds as `PartUnavailable`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from celery import Celery
from celery.backends.redis import RedisBackend
from kombu.connection import Connection
from kombu.exceptions import LimitExceeded, OperationalError
from kombu.transport import TRANSPORT_ALIASES
from redis.exceptions import RedisError

from imagegen.errors import ImagegenError, InvalidRequest, PartUnavailable
from imagegen.settings_values import celery_redis_url

CONNECT_TIMEOUT = 2.0
"""Seconds until a broker that does not answer the connection counts as away."""
ANSWER_TIMEOUT = 5.0
"""Seconds until one that took the connection and says nothing counts as away."""
MAX_CONNECTIONS = 10
"""Connections to the broker one client holds at most; a further thread waits for one."""
PUBLISH_RETRY = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.2, "interval_max": 0.2}


class Wire(Protocol):
    """What the client needs of a broker and a result store. Each method may raise `PartUnavailable`."""

    def send(self, task: str, task_id: UUID, request: Mapping[str, Any]) -> None:
        """Publishes one message; the same id again is harmless."""
        ...

    def command(self, task: str, task_id: UUID, kwargs: Mapping[str, Any]) -> None:
        """Publishes one message about a job that was sent before; its answer is the document of this id."""
        ...

    def finished(self, task_id: UUID) -> dict[str, Any] | None:
        """The finished document, or None: unknown, or on its way."""
        ...

    def accepted(self, task_id: UUID) -> bool:
        """Whether a worker is known to have written the row; False where that cannot be known."""
        ...

    def close(self) -> None:
        """Gives the connections back."""
        ...


class CeleryWire:
    """`Wire` over a Celery app of its own, which is never made the process's current one."""

    def __init__(self, broker: str, backend: str, namespace: str) -> None:
        self._namespace = namespace
        self._app = Celery(
            f"{namespace}-client", set_as_current=False, fixups=[], loader="celery.loaders.app:AppLoader"
        )
        # Not through the configuration: there CELERY_BROKER_URL and CELERY_RESULT_BACKEND of the environment win.
        self._app.backend_cls = _checked("backend", backend)
        connection: Any = Connection(  # type: ignore[no-untyped-call]
            _checked("broker", broker),
            connect_timeout=CONNECT_TIMEOUT,
            transport_options={
                "socket_connect_timeout": CONNECT_TIMEOUT,
                "socket_timeout": ANSWER_TIMEOUT,
                "socket_keepalive": True,
            },
        )
        self._connections = connection.Pool(limit=MAX_CONNECTIONS)
        self._app.conf.update(
            redis_socket_connect_timeout=CONNECT_TIMEOUT,
            redis_socket_timeout=ANSWER_TIMEOUT,
            result_backend_transport_options={"retry_policy": {"timeout": CONNECT_TIMEOUT, "max_retries": 1}},
            task_serializer="json",
            result_serializer="json",
            accept_content=["json"],
            result_accept_content=["json"],
        )

    def send(self, task: str, task_id: UUID, request: Mapping[str, Any]) -> None:
        self.command(task, task_id, {"request": dict(request)})

    def command(self, task: str, task_id: UUID, kwargs: Mapping[str, Any]) -> None:
        with _reaching("broker", task_id), self._connections.acquire(block=True, timeout=ANSWER_TIMEOUT) as connection:
            # ignore_result: the publisher would otherwise subscribe at the result backend before it sends.
            self._app.send_task(
                task,
                kwargs=dict(kwargs),
                task_id=str(task_id),
                queue=self._namespace,
                connection=connection,
                ignore_result=True,
                retry=True,
                retry_policy=PUBLISH_RETRY,
            )

    def finished(self, task_id: UUID) -> dict[str, Any] | None:
        with _reaching("result backend", task_id):
            # Not from Celery's own cache: a retry publishes the document of this id anew.
            meta = self._app.backend.get_task_meta(str(task_id), cache=False)
        if meta["status"] in {"PENDING", "STARTED", "RECEIVED", "RETRY"}:
            return None
        if meta["status"] != "SUCCESS" or not isinstance(meta["result"], dict):
            raise ImagegenError(
                f"the worker that took {task_id} answered {meta['status']}, not a document: is another "
                f"application reading the queue {self._namespace!r}?",
                {"id": str(task_id)},
            )
        return meta["result"]

    def accepted(self, task_id: UUID) -> bool:
        if not isinstance(self._app.backend, RedisBackend):
            return False
        with _reaching("result backend", task_id):
            return bool(self._app.backend.client.exists(accepted_key(self._namespace, task_id)))

    def close(self) -> None:
        self._connections.force_close_all()
        self._app.close()
        if isinstance(self._app.backend, RedisBackend):
            self._app.backend.client.connection_pool.disconnect()


def accepted_key(namespace: str, task_id: UUID) -> str:
    """The Redis key by which a worker says that the row of this id is written."""
    return f"{namespace}:accepted:{task_id}"


def _checked(field: str, url: str) -> str:
    scheme = urlsplit(url).scheme
    if scheme == "unix" or scheme.partition("+")[0] in TRANSPORT_ALIASES or (field == "backend" and scheme):
        return celery_redis_url(url)
    raise InvalidRequest.of(field, f"{scheme or 'no scheme'!r} is no broker", "Write redis://host:6379/0 or amqp://….")


@contextmanager
def _reaching(part: str, task_id: UUID) -> Iterator[None]:
    try:
        yield
    except (OperationalError, LimitExceeded, RedisError, OSError) as error:
        message = f"the {part} cannot be reached: {error}"
        raise PartUnavailable(message, {"part": part, "id": str(task_id)}) from error
