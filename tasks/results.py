"""Finished documents in the Celery result backend: what `AsyncResult(job_id).get()` answers, always SUCCESS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery, states
from redis.exceptions import RedisError

from imagegen import policies
from imagegen.errors import PartUnavailable


class CeleryResults:
    """`imagegen.ports.Results` on the app's Redis backend."""

    def __init__(self, app: Celery, namespace: str) -> None:
        self.app = app
        self.namespace = namespace

    def publish(self, identity: str, document: Mapping[str, Any]) -> None:
        """Replaces the result of this id. A stored SUCCESS is never overwritten by Celery, hence the `forget`."""
        try:
            self.app.backend.forget(identity)
            self.app.backend.store_result(identity, dict(document), states.SUCCESS)
        except (RedisError, ConnectionError, RuntimeError) as error:
            raise PartUnavailable(f"the result backend cannot be reached: {error}", {"part": "Redis"}) from error

    def withdraw(self, identity: str) -> None:
        """From here on this id is pending again, as if it had never ended."""
        try:
            self.app.backend.forget(identity)
        except (RedisError, ConnectionError, RuntimeError) as error:
            raise PartUnavailable(f"the result backend cannot be reached: {error}", {"part": "Redis"}) from error

    def acknowledge(self, identity: str) -> None:
        """Sets `{namespace}:accepted:{id}`, for which `imagegen.client` looks."""
        key = f"{self.namespace}:accepted:{identity}"
        try:
            self.app.backend.client.set(key, "1", ex=policies.ACCEPTED_TTL)
        except (RedisError, ConnectionError) as error:
            raise PartUnavailable(f"Redis cannot be reached: {error}", {"part": "Redis"}) from error
