"""Chains and chords on real workers: doubled, parked, flushed, rebuilt, killed; the batch closes once all the same."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from imagegen.client import Batch
from tests.acceptance.system import System, sender, until, words

LINKS = {"generate": "generate", "poll": "poll", "download": "transfer", "upload": "transfer"}


class Watched:
    """What the workers' own events say of tasks: name and result of each that succeeded."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._names: dict[str, tuple[str, str]] = {}

    def received(self, event: dict[str, Any]) -> None:
        self._names[event["uuid"]] = (event["name"], event["args"])

    def succeeded(self, event: dict[str, Any]) -> None:
        name, args = self._names.get(event["uuid"], ("", ""))
        self.seen.append((f"{name}{args}", event["result"]))

    def of(self, task: str, identity: object) -> list[str]:
        """Results of this task for this id."""
        return [result for called, result in self.seen if called.startswith(task) and str(identity) in called]


@contextmanager
def watched(system: System) -> Iterator[Watched]:
    """The workers' events while the block runs."""
    app, seen, stop = sender(system), Watched(), threading.Event()
    handlers = {"task-received": seen.received, "task-succeeded": seen.succeeded}

    def listen() -> None:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers=handlers)
            ready.set()
            for _ in receiver.itercapture(limit=None, timeout=None, wakeup=False):
                if stop.is_set():
                    return

    ready = threading.Event()
    listener = threading.Thread(target=listen)
    listener.start()
    ready.wait(5)
    try:
        yield seen
    finally:
        stop.set()
        listener.join(10)
        app.close()


def test_the_chord_closes_the_batch(system: System) -> None:
    """Four members that finish normally are counted by their chord, whose body closes the batch, once."""
    with watched(system) as seen:
        batch = started(system, "counted")
        done = system.client.wait(batch, timeout=60)
        until(lambda: seen.of("imagegen.finish_batch", batch.id))
    assert done.status == "completed"
    assert seen.of("imagegen.finish_batch", batch.id) == ["'closed'"]
    assert closings(system, batch) == 1
    assert len(system.charges()) == 4


def test_every_link_doubled_changes_nothing(system: System) -> None:
    """Five copies of every message of every member: four charges, four completions, one closing."""
    batch = started(system, "doubled")
    until(lambda: len(system.charges()) >= 1)
    with sender(system) as app:
        for job in batch.jobs:
            for link, queue in LINKS.items():
                for _ in range(5):
                    key = str(job.id)
                    app.send_task(
                        f"imagegen.{link}", args=[[key]] if link == "poll" else [key],
                        queue=f"{system.settings.namespace}.{queue}", ignore_result=True,
                    )  # fmt: skip
    done = system.client.wait(batch, timeout=60)
    assert (done.status, len(system.charges())) == ("completed", 4)
    assert [system.moves(job.id).count("complete") for job in done.jobs] == [1] * 4
    assert closings(system, batch) == 1


def test_a_parked_upload_is_counted_once_when_it_resumes(system: System) -> None:
    """An upload whose store refuses parks without counting into the chord, resumes with it, and the chord closes."""
    project = words("blocked").replace(" ", "-")
    blocker = system.home / "storage" / f"project_{project}"
    blocker.parent.mkdir(parents=True, exist_ok=True)
    blocker.write_text("a file where a folder should be")
    with watched(system) as seen:
        batch = started(system, "blocked", project_id=project)
        until(lambda: all("backoff" in system.moves(job.id) for job in batch.jobs))
        blocker.unlink()
        done = system.client.wait(batch, timeout=60)
        until(lambda: seen.of("imagegen.finish_batch", batch.id))
    assert (done.status, len(system.charges())) == ("completed", 4)
    assert seen.of("imagegen.finish_batch", batch.id).count("'closed'") == 1
    assert closings(system, batch) == 1


def test_redis_flushed_while_parked_only_costs_the_chord(system: System) -> None:
    """Parked members of a flushed Redis resume from their rows, and the guarded UPDATE closes their batch."""
    batch = parked(system, "flushed")
    with system.redis() as redis:
        redis.flushall()
    done = system.client.wait(batch, timeout=60)
    assert (done.status, len(system.charges())) == ("completed", 4)
    assert closings(system, batch) == 1


def test_a_member_rebuilt_without_its_chord_still_closes_the_batch(system: System) -> None:
    """A member whose stored continuation is gone runs in a fresh chain; the batch closes without the chord."""
    batch = parked(system, "rebuilt")
    system.sql("UPDATE image_generation_jobs SET continuation = NULL WHERE id = %s", str(batch.jobs[1].id))
    done = system.client.wait(batch, timeout=60)
    assert (done.status, len(system.charges())) == ("completed", 4)
    assert closings(system, batch) == 1


@pytest.mark.parametrize("worker", ["generate", "transfer", "poll"])
def test_a_killed_worker_loses_no_member(system: System, worker: str) -> None:
    """kill -9 of a worker in the middle of a batch: restarted, all four complete, four charges, one closing."""
    batch = started(system, f"killed {worker}", provider="nanobanana")
    # An order whose number was not written down yet would end in doubt, rightly: that is another test's promise.
    until(lambda: ordered(system, batch) == 4)
    os.kill(system.run.supervisor.pids()[worker], signal.SIGKILL)
    done = system.client.wait(batch, timeout=90)
    assert (done.status, len(system.charges())) == ("completed", 4)
    assert closings(system, batch) == 1


def ordered(system: System, batch: Batch) -> int:
    """How many of its members have their order's number in the database."""
    numbers = "SELECT count(provider_job_id) FROM image_generation_jobs WHERE batch_id = %s"
    return int(system.sql(numbers, str(batch.id))[0][0])


def started(system: System, about: str, **fields: Any) -> Batch:
    """A batch of four that was just sent."""
    cast = [{"name": f"Member {number}", "description": words(about)} for number in range(4)]
    return system.client.batch(cast, **{"provider": "nanobanana", **fields})


def parked(system: System, about: str) -> Batch:
    """A batch whose four members all rest in their rows, sent away by the provider for two seconds."""
    system.emulator.fault("rate_limit", provider="gemini", times=4, retry_delay="2s")
    batch = started(system, about, provider="gemini")
    until(lambda: all("repeat" in system.moves(job.id) for job in batch.jobs))
    return batch


def closings(system: System, batch: Batch) -> int:
    """How often the batch was closed: its run, if it is closed."""
    rows = system.sql("SELECT run FROM imagegen_batches WHERE id = %s AND completed_at IS NOT NULL", str(batch.id))
    return int(rows[0][0]) if rows else 0
