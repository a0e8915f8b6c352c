"""The Celery client on a real Redis: what it sends is what a worker reads, and a dead broker is told quickly."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from imagegen.client import CeleryClient, Client, PartUnavailable, StillRunning
from imagegen.client.wire import accepted_key
from imagegen.contracts import Cost, JobDocument
from imagegen.ids import member_id_for
from imagegen.settings_values import celery_redis_url

ROOT = Path(__file__).parents[2]
NAMESPACE = "teal"


class Clerk(threading.Thread):
    """Stands for a worker: takes messages off the queue as the broker holds them and publishes their documents."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.taken: list[tuple[str, UUID, dict[str, Any]]] = []
        self.answer: Callable[[str, UUID, dict[str, Any]], dict[str, Any]] = document
        self._over = threading.Event()
        self._redis = redis.Redis.from_url(url)

    def run(self) -> None:
        while not self._over.is_set():
            message = self._redis.brpop([NAMESPACE], timeout=0.1)
            if message is None:
                continue
            envelope = json.loads(message[1])
            name, task_id = envelope["headers"]["task"], UUID(envelope["headers"]["id"])
            _, kwargs, _ = json.loads(base64.b64decode(envelope["body"]))
            self.taken.append((name, task_id, kwargs["request"]))
            found = self.answer(name, task_id, kwargs["request"])
            publish(self._redis, task_id, found)

    def stop(self) -> None:
        self._over.set()
        self.join(5)
        self._redis.close()


def publish(server: redis.Redis, task_id: UUID, found: dict[str, Any]) -> None:
    """A successful result as Celery's Redis backend lays it down and announces it."""
    key = f"celery-task-meta-{task_id}"
    meta = json.dumps(
        {"status": "SUCCESS", "result": found, "traceback": None, "children": [], "task_id": str(task_id)}
    )
    server.set(key, meta)
    server.publish(key, meta)


def document(name: str, task_id: UUID, request: dict[str, Any]) -> dict[str, Any]:
    def job(job_id: UUID, character: str | None = None) -> dict[str, Any]:
        return JobDocument(
            job_id=job_id, status="completed", public_url=f"https://x/{job_id}.png", character=character,
            cost=Cost(actual=0.04),
        ).json_document()  # fmt: skip

    if name == "imagegen.generate_image":
        return job(task_id)
    jobs = [job(member_id_for(task_id, at), one["name"]) for at, one in enumerate(request["characters"])]
    return {"batchId": str(task_id), "status": "completed", "jobs": jobs, "cost": {"actual": 0.16}}


@pytest.fixture
def clerk(redis_url: str) -> Iterator[Clerk]:
    clerk = Clerk(redis_url)
    clerk.start()
    yield clerk
    clerk.stop()


@pytest.fixture
def client(redis_url: str) -> Iterator[CeleryClient]:
    with Client.celery(redis_url, namespace=NAMESPACE) as client:
        yield client


def test_a_job_travels_there_and_back(client: CeleryClient, clerk: Clerk) -> None:
    """The message on the namespace's queue holds task, id and request; the published document comes back typed."""
    job = client.generate("a fox", width=64, height=64)
    done = client.wait(job, timeout=10)
    assert (done.ok, done.public_url) == (True, f"https://x/{job.id}.png")
    assert clerk.taken == [("imagegen.generate_image", job.id, {"prompt": "a fox", "width": 64, "height": 64})]
    assert client.get(job.id) == done


def test_a_document_published_again_is_seen(client: CeleryClient, clerk: Clerk, redis_url: str) -> None:
    """After a retry the same id has another document, and this client reads it, not what it read before."""
    job = client.wait(client.generate("a fox"), timeout=10)
    with closing(redis.Redis.from_url(redis_url)) as server:
        publish(server, job.id, {**job.json_document(), "status": "failed"})
    assert client.get(job).status == "failed"


def test_a_lost_message_is_sent_again_until_acknowledged(client: CeleryClient, redis_url: str) -> None:
    """Redis forgets the message: waiting puts the same one back; once a worker has acknowledged it, no more."""
    with closing(redis.Redis.from_url(redis_url)) as server:
        job = client.generate("a fox")
        server.delete(NAMESPACE)
        with pytest.raises(StillRunning):
            client.wait(job, timeout=2.5)
        (message,) = server.lrange(NAMESPACE, 0, -1)
        assert json.loads(message)["headers"]["id"] == str(job.id)
        server.set(accepted_key(NAMESPACE, job.id), "1")
        server.delete(NAMESPACE)
        with pytest.raises(StillRunning):
            client.wait(job, timeout=4.5)
        assert server.llen(NAMESPACE) == 0


def test_the_environment_does_not_move_the_door(redis_url: str, clerk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's own variables, meant for another application of the same process, change nothing here."""
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://127.0.0.1:1/0")
    with Client.celery(celery_redis_url(redis_url), celery_redis_url(redis_url), NAMESPACE) as client:
        assert client.wait(client.generate("a fox"), timeout=10).ok


def test_a_dead_broker_is_told_within_seconds() -> None:
    """Nobody listening: `PartUnavailable` that names the part, at once, for sending and for looking."""
    with Client.celery("redis://127.0.0.1:1/0") as client:
        for ask in (lambda: client.generate("a fox"), lambda: client.get(uuid4())):
            start = time.monotonic()
            with pytest.raises(PartUnavailable, match="cannot be reached"):
                ask()
            assert time.monotonic() - start < 3


def test_a_mute_broker_is_told_within_seconds() -> None:
    """A server that takes the connection and says nothing does not hold the caller."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with Client.celery(f"amqp://127.0.0.1:{mute.getsockname()[1]}//", "redis://127.0.0.1:1/0") as client:
            start = time.monotonic()
            with pytest.raises(PartUnavailable, match="broker"):
                client.generate("a fox")
            assert time.monotonic() - start < 6


@pytest.mark.parametrize(
    ("name", "says"),
    [("client_one", "for $0.04"), ("client_batch", "completed, $0.16 together"), ("send_task_raw", "completed ")],
)
def test_the_examples_run(name: str, says: str, clerk: Clerk, redis_url: str) -> None:
    """Every example of the documentation does what it says against a queue somebody reads."""
    script = ROOT / "docs" / "examples" / f"{name}.py"
    told = subprocess.run(
        [sys.executable, str(script), celery_redis_url(redis_url), NAMESPACE],
        text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert says in told.stdout
    assert len(clerk.taken) == 1


BARE = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.path[:] = [folder for folder in sys.path if folder not in ("", {root!r})]
sys.path.append({alone!r})
sys.meta_path.insert(0, Missing())
from imagegen.cli.main import main
main()
"""
EXTRAS = {
    "pyvips", "boto3", "botocore", "sqlmodel", "sqlalchemy", "psycopg2", "alembic", "structlog", "pybreaker", "flower",
}  # fmt: skip


def bare(tmp_path: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`imagegen …` where only the wheel and its dependencies are installed."""
    alone = tmp_path / "site"
    alone.mkdir(exist_ok=True)
    if not (alone / "imagegen").exists():
        (alone / "imagegen").symlink_to(ROOT / "imagegen")
    code = BARE.format(missing=EXTRAS, root=str(ROOT), alone=str(alone))
    return subprocess.run(
        [sys.executable, "-c", code, *args], cwd=tmp_path, text=True, capture_output=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "IMAGEGEN_HOME": str(tmp_path / "var"), **env},
    )  # fmt: skip


def test_a_bare_wheel_submits_through_the_broker(tmp_path: Path, clerk: Clerk, redis_url: str) -> None:
    """Without the worker application `submit --wait` goes over Celery and prints the same document."""
    told = bare(
        tmp_path, "submit", "a fox", "--wait", "--json", IMAGEGEN_REDIS_URL=redis_url, IMAGEGEN_NAMESPACE=NAMESPACE
    )
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["publicUrl"].startswith("https://x/")


@pytest.mark.parametrize("words", [("list",), ("migrate",), ("up",), ("demo",), ("submit", "x", "--dry-run")])
def test_a_bare_wheel_refuses_what_needs_the_application(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Exit 2, and where the command does run."""
    told = bare(tmp_path, *words)
    assert told.returncode == 2
    assert "checkout or the image" in told.stderr


def test_a_bare_wheel_without_a_broker_exits_3(tmp_path: Path) -> None:
    """Nothing configured, nobody at home: exit 3 names the folder looked in."""
    told = bare(tmp_path, "submit", "x")
    assert told.returncode == 3
    assert str(tmp_path / "var") in told.stderr
