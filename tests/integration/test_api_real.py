"""The HTTP door on real parts: owners on PostgreSQL, request limits on Redis, a start without a secret refused."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from imagegen.api.limiter import REST, RedisLimiter
from imagegen.api.setup import Setup
from imagegen.embedded.environment import is_setting
from imagegen.settings_values import RateLimit
from tests.door import RULES, served
from tests.jobs_kit import PostgresStore
from tests.pipeline_parts import World
from tests.unit import test_api_owners

pytest_plugins = ["tests.stores"]
ROOT = Path(__file__).parents[2]
door, belongings = test_api_owners.door, test_api_owners.belongings
for name, story in vars(test_api_owners).items():
    if name.startswith("test_"):
        globals()[name] = story


@pytest.fixture
def world(postgres: PostgresStore) -> World:
    """The jobs in PostgreSQL, the rest in memory."""
    return World(postgres)


def limiter(url: str, count: int, monotonic: Callable[[], float] = time.monotonic) -> RedisLimiter:
    return RedisLimiter(url, f"test-{uuid4().hex}", RateLimit(count, 60), monotonic)


def test_an_owner_has_its_share_and_no_more(redis_url: str) -> None:
    """However many threads ask at once, exactly so many requests pass; another owner has a share of its own."""
    shared = limiter(redis_url, 10)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: shared.over("ada"), range(30)))
    assert answers.count(None) == 10
    assert all(answer is None or 1 <= answer <= 61 for answer in answers)
    assert shared.over("bob") is None


def test_processes_share_a_limit_by_namespace(redis_url: str) -> None:
    """Two limiters of one namespace count together."""
    one, other = (RedisLimiter(redis_url, "together", RateLimit(1, 60), time.monotonic) for _ in range(2))
    assert one.over("ada") is None
    assert other.over("ada") is not None
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert len(client.keys("together:limits*ada*")) == 1


def test_nobody_is_limited_while_redis_is_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Requests pass, one warning is logged, and Redis is left alone for a while."""
    now = [0.0]
    alone = limiter(f"unix://{tmp_path}/none.sock", 1, lambda: now[0])
    assert [alone.over("ada") for _ in range(5)] == [None] * 5
    assert len(caplog.records) == 1
    now[0] = REST + 1
    assert alone.over("ada") is None
    assert len(caplog.records) == 2


def test_the_limit_is_told_over_http(world: World, redis_url: str) -> None:
    """The third request of an owner with two a minute is 429 with Retry-After."""
    with served(world.services, Setup(tokens=RULES, limiter=limiter(redis_url, 2))) as door:
        statuses = [door.get("/api/images/jobs").status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert 1 <= int(door.get("/api/images/jobs").headers["Retry-After"]) <= 61


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({}, "IMAGEGEN_JWT_SECRET: is not set"),
        ({"IMAGEGEN_JWT_SECRET": "development-" + "x" * 32}, "IMAGEGEN_JWT_SECRET: is a development secret"),
        ({"IMAGEGEN_JWT_SECRET": "short"}, "IMAGEGEN_JWT_SECRET: has fewer than 32 bytes"),
    ],
    ids=["none", "development", "short"],
)
def test_production_does_not_open_without_a_secret(tmp_path: Path, told: dict[str, str], reason: str) -> None:
    """The server exits with 2 and one line that names the remedy, without a trace."""
    kept = {name: value for name, value in os.environ.items() if not is_setting(name)}
    settings = {
        "IMAGEGEN_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/none", "IMAGEGEN_REDIS_URL": "redis://127.0.0.1:1/0",
        "USE_REAL_IMAGE": "true", "GEMINI_API_KEY": "key", "IMAGEGEN_HOME": str(tmp_path), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [sys.executable, "-m", "uvicorn", "tasks.asgi:app", "--port", "0"]
    done = subprocess.run(
        command, env={**kept, **settings, **told}, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
