"""Admission against real parts: PostgreSQL, an object store, and pictures served over HTTP."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from imagegen.admission import admit_batch, admit_image
from imagegen.clock import SystemClock
from imagegen.contracts import parse_batch, parse_request, parse_style
from imagegen.errors import IdempotencyConflict, InvalidRequest
from imagegen.ids import batch_id_for, job_id_for
from imagegen.ports import Services
from imagegen.records import JobFilter
from imagegen.references import order
from imagegen.transport import Transport
from storage import migrate
from storage.blobs import LocalBlobs
from storage.engine import Database
from storage.jobs import PostgresJobs
from storage.styles import PostgresStyles
from tests.admission_parts import World
from tests.drawings import a_file

PNG = a_file("PNG")
SHA = hashlib.sha256(PNG).hexdigest()
PAGES = {"/mara.png": (200, PNG), "/login": (200, b"<!doctype html>"), "/cut.png": (200, PNG[:-30])}


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved.png":
            self.send_response(302)
            self.send_header("Location", "/mara.png")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status, body = PAGES.get(self.path, (404, b"none"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: tests have their own output."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A web server on a free loopback port; its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    """A migrated database."""
    migrate.upgrade(database_url)
    found = Database(database_url)
    yield found
    found.close()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def services(database: Database, tmp_path: Path, world: World) -> Iterator[Services]:
    """Real rows, files and transport; the hints are only listened to."""
    transport = Transport()
    yield world.with_(
        jobs=PostgresJobs(database), styles=PostgresStyles(database), transport=transport, clock=SystemClock(),
        blobs=LocalBlobs(tmp_path / "store", "http://127.0.0.1:1/files"), allow_hosts=("127.0.0.1",),
    )  # fmt: skip
    transport.close()


def body(site: str, **fields: Any) -> dict[str, Any]:
    return {"character": {"name": "Mara"}, "referenceImages": [f"{site}/mara.png"], **fields}


def test_an_admitted_job_comes_back_from_the_database_as_it_went_in(services: Services, site: str) -> None:
    """Row, request and plan survive PostgreSQL; the order made from them carries the picture that was read."""
    services.styles.put("noir", parse_style({"name": "Noir", "modifiers": ["film grain"]}), at=services.clock.now())
    request = parse_request(body(site, visualStyleCapsuleId="noir", metadata={"a": [1, None, "é"]}, provider="gemini"))
    (job,) = admit_image(request, services, door="http").jobs
    kept = services.jobs.get(job.id)
    assert kept == replace(job, plan=dict(job.plan), request=dict(job.request))
    assert kept.plan["references"][0]["sha256"] == SHA
    assert kept.style_name == "Noir"
    (reference,) = order(kept, services).references
    assert reference.data == PNG


def test_a_redirected_reference_is_read(services: Services, site: str) -> None:
    """A picture that moved on its own host is found."""
    request = parse_request(body(site, referenceImages=[f"{site}/moved.png"]))
    (job,) = admit_image(request, services, door="http").jobs
    assert job.plan["references"][0]["sha256"] == SHA


@pytest.mark.parametrize("page", ["/login", "/cut.png", "/none.png"])
def test_an_unreadable_reference_leaves_no_row(services: Services, site: str, page: str) -> None:
    """A login page, a cut file and a missing one are refused before anything is written."""
    request = parse_request(body(site, referenceImages=[site + page], owner=f"nobody{page}"))
    with pytest.raises(InvalidRequest, match=r"referenceImages\.0"):
        admit_image(request, services, door="http")
    assert services.jobs.list(JobFilter(owner=f"nobody{page}"))[0] == []


def test_a_private_host_is_refused_without_a_connection(services: Services, site: str) -> None:
    """Without an exemption the loopback server is not asked at all."""
    with pytest.raises(InvalidRequest, match="not https"):
        admit_image(parse_request(body(site)), replace(services, allow_hosts=()), door="http")


def test_twenty_callers_with_one_key_get_one_job(services: Services, site: str, world: World) -> None:
    """Under concurrency one idempotency key is one row and one hint; another body under it is a conflict."""
    request = parse_request(body(site, idempotencyKey="order-7", owner="shop"))
    with ThreadPoolExecutor(8) as pool:
        admitted = list(pool.map(lambda _: admit_image(request, services, door="http"), range(20)))
    assert {one.jobs[0].id for one in admitted} == {job_id_for("shop", "order-7")}
    assert [one.created for one in admitted].count(True) == 1
    assert len(world.hints.heard) == 1
    with pytest.raises(IdempotencyConflict):
        admit_image(request.model_copy(update={"seed": 3}), services, door="http")


def test_a_batch_is_written_whole_or_not_at_all(services: Services, site: str, world: World) -> None:
    """Four members and their batch in one go, found again by key; with one bad member not a single row."""
    characters = [{"name": name} for name in ("Ada", "Bo", "Cy", "Di")]
    good = {"characters": characters, "idempotencyKey": "k", "owner": "crew", "referenceImages": [f"{site}/mara.png"]}
    first = admit_batch(parse_batch(good), services, door="cli")
    again = admit_batch(parse_batch(good), services, door="cli")
    assert first.batch is not None
    assert first.batch.id == batch_id_for("crew", "k")
    assert (first.created, again.created) == (True, False)
    assert [job.id for job in again.jobs] == [job.id for job in first.jobs]
    batch, jobs = services.jobs.get_batch(first.batch.id)
    assert (batch.size, [job.character for job in jobs]) == (4, ["Ada", "Bo", "Cy", "Di"])
    assert [kind for kind, _ in world.hints.heard] == ["batch"]
    bad = {"requests": [{"prompt": "A fox"}, {"prompt": "A cat", "model": "dall-e"}], "owner": "careless"}
    with pytest.raises(InvalidRequest, match=r"requests\.1\.model"):
        admit_batch(parse_batch(bad), services, door="cli")
    assert services.jobs.list(JobFilter(owner="careless"))[0] == []


def test_a_local_file_is_kept_by_digest_alone(services: Services, tmp_path: Path) -> None:
    """The row of a command-line job names its picture by digest: the file may go, and no path or byte is kept."""
    path = tmp_path / "sheet.png"
    path.write_bytes(PNG)
    request = parse_request({"prompt": "A hat", "jobType": "inpaint", "sourceImage": str(path), "mask": str(path)})
    (job,) = admit_image(request, services, door="cli").jobs
    path.unlink()
    kept = services.jobs.get(job.id)
    assert (kept.request["sourceImage"], kept.request["mask"]) == (f"input:{SHA}", f"input:{SHA}")
    assert str(tmp_path) not in str(kept)
    assert (kept.width, kept.height) == (320, 180)
    assert services.blobs.get(kept.plan["source"]["key"]) == PNG
