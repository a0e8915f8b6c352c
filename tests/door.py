"""The HTTP door before services in memory: tokens of two owners and a service, and a client of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi.testclient import TestClient
from pydantic import SecretStr

from imagegen.api.app import create_app
from imagegen.api.setup import Setup
from imagegen.api.tokens import TokenRules, mint
from imagegen.ports import Services

SECRET = "a secret of more than thirty-two bytes"
RULES = TokenRules(SecretStr(SECRET))


def bearer(owner: str, now: datetime, *, service: bool = False, ttl: timedelta = timedelta(hours=1)) -> dict[str, str]:
    """The header that proves an owner."""
    return {"Authorization": f"Bearer {mint(SECRET, owner, now=now, ttl=ttl, service=service)}"}


@dataclass
class Door:
    """A served application and its callers."""

    services: Services
    client: TestClient
    headers: dict[str, str] = field(default_factory=dict)

    def as_(self, owner: str, *, service: bool = False) -> Door:
        """The same door for another caller."""
        return Door(self.services, self.client, bearer(owner, self.services.clock.now(), service=service))

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(path, params=query, headers=self.headers)

    def post(self, path: str, json: Any = None, headers: Mapping[str, str] | None = None, **more: Any) -> Any:
        return self.client.post(path, json=json, headers={**self.headers, **(headers or {})}, **more)

    def put(self, path: str, json: Any = None, **query: Any) -> Any:
        return self.client.put(path, json=json, params=query, headers=self.headers)

    def delete(self, path: str, **query: Any) -> Any:
        return self.client.delete(path, params=query, headers=self.headers)


@contextmanager
def served(services: Services, setup: Setup | None = None) -> Iterator[Door]:
    """The door open, for owner `ada`."""
    app = create_app(lambda: services, setup or Setup(tokens=RULES))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Door(services, client).as_("ada")


def tomorrow() -> datetime:
    """A time that lies ahead."""
    return datetime.now(UTC) + timedelta(days=1)
