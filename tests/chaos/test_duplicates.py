"""A thousand identical messages for one job in eight worker processes: one charge, one picture, one end."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from imagegen import layout
from imagegen.embedded.application import Worker
from imagegen.emulator import Emulator
from imagegen.states import TERMINAL
from storage.blobs import open_blobs
from tests.acceptance.system import sender, started, until, words

MESSAGES = 1000
PROCESSES = 8
WORKERS = (
    *(Worker(f"any{at}", ("{ns}", "{ns}.generate", "{ns}.transfer"), "threads", 4) for at in range(PROCESSES)),
    Worker("rest", ("{ns}.poll", "{ns}.housekeeping"), "threads", 4),
)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


def test_a_thousand_messages_buy_one_picture(tmp_path: Path) -> None:
    """The request and each stage's message a thousand times: only the first of each finds anything to do."""
    with Emulator(latency=0.5, plain=True) as emulator, started(tmp_path / "home", emulator, WORKERS) as system:
        job_id, request = str(uuid4()), {"prompt": words("again"), "provider": "gemini"}
        with sender(system) as app, app.connection_for_write() as connection:
            for number in range(MESSAGES):
                more = {"connection": connection, "queue": system.settings.namespace}
                app.send_task("imagegen.generate_image", kwargs={"request": request}, task_id=job_id, **more)
                queue = f"{system.settings.namespace}.{'transfer' if number % 2 else 'generate'}"
                name = "imagegen.upload" if number % 2 else "imagegen.generate"
                app.send_task(name, args=[job_id], connection=connection, queue=queue)
        done = system.client.wait(job_id, timeout=90)
        until(lambda: queued(system) == 0, seconds=60, every=0.5)
        assert done.status == "completed"
        assert len(system.charges()) == 1
        ends = [event for event in system.jobs.history(done.job_id) if event.status in TERMINAL]
        assert [event.move for event in ends] == ["complete"]
        keys = [info.key for info in open_blobs(system.settings.storage).list("")]
        assert len([key for key in keys if key.startswith(layout.BLOBS)]) == 1
        assert len([key for key in keys if key.startswith(layout.PUBLIC_PREFIX)]) == 2
        assert system.sql("SELECT kind FROM imagegen_ledger ORDER BY id") == [("reserve",), ("settle",)]


def queued(system: object) -> int:
    """Messages that no worker has taken yet."""
    space = system.settings.namespace  # type: ignore[attr-defined]
    with system.redis() as redis:  # type: ignore[attr-defined]
        return sum(redis.llen(name) for name in (space, f"{space}.generate", f"{space}.transfer"))
