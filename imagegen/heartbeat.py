"""Signs of life: the leases of all jobs that this process is busy with are renewed by one statement.

A lease is short, so that a killed worker's job is taken up soon; a paid call or a long transfer may take minutes. The
thread that renews starts with the first job held and ends with the process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from imagegen import policies
from imagegen.errors import PartUnavailable
from imagegen.jobs import Job
from imagegen.records import Holding

log = logging.getLogger(__name__)


class Heartbeat:
    """The jobs this process holds. Thread-safe. Without `renew` it only remembers them, for tests."""

    def __init__(self, renew: Callable[[Sequence[Holding]], None] | None = None) -> None:
        self._renew = renew
        self._held: dict[UUID, Holding] = {}
        self._lock = threading.Lock()
        self._beating = False

    @contextmanager
    def holding(self, job: Job) -> Iterator[None]:
        """Keeps the lease of a job alive inside; `job` as its claim returned it."""
        if job.claim is None:
            raise ValueError(f"job {job.id} is held by nobody")
        self._hold(job)
        try:
            yield
        finally:
            with self._lock:
                del self._held[job.claim]

    def buying(self, job: Job) -> None:
        """A job held already is being bought by its newest attempt: its lease is renewed by that too."""
        if job.claim in self._held:
            self._hold(job)

    @property
    def held(self) -> Sequence[Holding]:
        """What is held at the moment."""
        with self._lock:
            return [*self._held.values()]

    def beat(self) -> None:
        """One sign of life for everything held; a database that is away is told at the next one."""
        held = self.held
        if not held or self._renew is None:
            return
        try:
            self._renew(held)
        except PartUnavailable as error:
            log.warning("no sign of life for %d jobs: %s", len(held), error)

    def _hold(self, job: Job) -> None:
        assert job.claim is not None
        with self._lock:
            self._held[job.claim] = Holding(job_id=job.id, claim=job.claim, attempt_id=job.attempt_id)
            if self._renew is None or self._beating:
                return
            self._beating = True
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(policies.HEARTBEAT):
            try:
                self.beat()
            except Exception:
                # Whatever one sign of life failed for, the next one is due all the same.
                log.exception("no sign of life for %d jobs", len(self.held))
