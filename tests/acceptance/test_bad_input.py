"""Bad input costs nothing: the field, the reason and the remedy are named, and no row is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery

from imagegen.client import Batch, InvalidRequest, Job
from tests.acceptance.system import System, Told
from tests.acceptance.together import Site, serving, together, written

HTML = b"<!doctype html><title>not here</title>"
LOOPBACK = {"IMAGEGEN_ALLOW_HOSTS": "127.0.0.1"}
TABLES = ("image_generation_jobs", "imagegen_batches")


@dataclass(frozen=True)
class Wrong:
    """A command, the field it must name, and words of the reason and of the remedy."""

    command: tuple[str, ...]
    field: str
    reason: str
    remedy: str


def wrongs(folder: Path, site: str) -> dict[str, Wrong]:
    """Every kind of bad input that a command can be given."""
    brief = {"name": "Ada Wren", "description": "a clockmaker"}
    misspelt = written(folder / "misspelt.json", {"requests": [{"prompt": "a fox"}, {"prompt": "a fox", "widht": 64}]})
    nameless = written(folder / "nameless.json", {"characters": [brief, {"name": " ", "description": "a postman"}]})
    five = written(folder / "five.json", {"characters": [{**brief, "name": f"Ada {number}"} for number in range(5)]})
    broken = folder / "broken.yaml"
    broken.write_text("characters:\n  - name: [Ada\n")
    no_picture = folder / "notes.png"
    no_picture.write_bytes(HTML)
    return {
        "unknown field": Wrong(("batch", misspelt), "requests.1.widht", "is not a field", "spelling"),
        "bad brief": Wrong(("batch", nameless), "characters.1.name", "is empty", "Send 1 or more"),
        "five": Wrong(("batch", five), "characters", "5 members", "one to 4"),
        "broken YAML": Wrong(("batch", str(broken)), "FILE", "neither JSON nor YAML", "Correct it"),
        "no file": Wrong(("batch", str(folder / "none.yaml")), "FILE", "cannot read", "readable"),
        "unknown model": Wrong(("submit", "a fox", "--model", "dall-e"), "model", "'dall-e' is not known", "Use one"),
        "dead model": Wrong(
            ("submit", "a fox", "--model", "gemini-2.5-flash-image", "--provider", "gemini"),
            "model", "2026-10-02", "nano-banana-2.1",
        ),
        "no size": Wrong(("submit", "a fox", "--width", "0", "--height", "0"), "width", "64", "64 or more"),
        "empty prompt": Wrong(("submit", ""), "prompt", "is empty", "Say what"),
        "long prompt": Wrong(("submit", "a" * 20_001), "prompt", "20001 characters", "Shorten it to 20000"),
        "gone reference": Wrong(
            ("submit", "a fox", "--reference", f"{site}/gone.png"), "referenceImages.0", "answers 404", "Make it"
        ),
        "HTML reference": Wrong(
            ("submit", "a fox", "--reference", f"{site}/page.png"), "referenceImages.0", "HTML", "Send"
        ),
        "file is no picture": Wrong(
            ("submit", "a fox", "--reference", str(no_picture)), "referenceImages.0", "HTML", "Send"
        ),
        "option value": Wrong(("submit", "a fox", "--format", "bmp"), "--format", "'bmp'", "--help"),
        "unknown option": Wrong(("submit", "a fox", "--widht", "64"), "--widht", "No such option", "--help"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A web server with a page that claims to be a picture."""
    with serving({"/page.png": (200, "image/png", HTML)}) as site:
        yield site


def rows(system: System) -> list[int]:
    return [system.sql(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES]


def test_every_wrong_command_names_field_reason_and_remedy(system: System, site: Site, tmp_path: Path) -> None:
    """Each exits with 2 and one line for people on standard error; with --json one document; nothing is bought."""
    cases = wrongs(tmp_path, site.url)
    before = rows(system)
    told = together(system, {name: wrong.command for name, wrong in cases.items()}, LOOPBACK)
    for name, wrong in cases.items():
        check_line(name, wrong, told[name])
    chosen = ("unknown field", "dead model", "HTML reference", "option value")
    told = together(system, {name: (*cases[name].command, "--json") for name in chosen}, LOOPBACK)
    for name in chosen:
        check_document(cases[name], told[name])
    assert rows(system) == before
    assert system.charges() == []
    assert system.emulator.ledger()["submissions"] == 0


def check_line(name: str, wrong: Wrong, told: Told) -> None:
    assert (told.code, told.out) == (2, ""), f"{name}: {told}"
    lines = told.err.splitlines()
    assert len([line for line in lines if line.startswith("error INVALID_REQUEST: ")]) == 1, f"{name}: {told}"
    found = next(line for line in lines if f"{wrong.field}: " in line)
    for words in (wrong.reason, wrong.remedy):
        assert words in found, f"{name}: {told}"
    assert "Traceback" not in told.err


def check_document(wrong: Wrong, told: Told) -> None:
    assert told.code == 2, told
    document = told.json
    assert (document["error"]["code"], document["error"]["billed"]) == ("INVALID_REQUEST", "no")
    problem = next(one for one in document["problems"] if one["field"] == wrong.field)
    assert wrong.reason in problem["reason"]
    assert wrong.remedy in problem["remedy"]


def test_the_client_refuses_before_it_sends(system: System) -> None:
    """What needs no worker to know is raised at once, with its field, and no message is sent."""
    refused: dict[str, Callable[[], object]] = {
        "widht": lambda: system.client.generate("a fox", widht=64, height=64),
        "width": lambda: system.client.generate("a fox", width=0, height=0),
        "prompt": lambda: system.client.generate(""),
        "characters": lambda: system.client.batch([{"name": f"Ada {number}"} for number in range(5)]),
        "referenceImages.0": lambda: system.client.generate("a fox", reference_images=["picture.png"]),
    }
    before = rows(system)
    for field, call in refused.items():
        with pytest.raises(InvalidRequest) as caught:
            call()
        assert field in [problem["field"] for problem in caught.value.problems]
    assert rows(system) == before
    assert system.charges() == []


def test_what_only_a_worker_can_refuse_comes_back_as_a_document(system: System, site: Site) -> None:
    """A dead or unknown model and an address of this machine fail as INVALID_REQUEST; no row, no charge, no fetch."""
    before, asked = rows(system), len(site.asked)
    wrong: dict[str, dict[str, Any]] = {
        "nano-banana-2.1": {"model": "gemini-2.5-flash-image", "provider": "gemini"},
        "'dall-e' is not known": {"model": "dall-e"},
        "referenceImages.0": {"reference_images": [f"{site.url}/page.png"]},
        "not a public address": {"reference_images": ["https://127.0.0.1/page.png"]},
    }
    sent = {words: system.client.generate("a fox", **fields) for words, fields in wrong.items()}
    for words, job in sent.items():
        check_refused(system.client.wait(job, timeout=30), job.id, words)
    batch = system.client.batch(requests=[{"prompt": "a fox"}, {"prompt": "a hare", "model": "dall-e"}])
    refused = system.client.wait(batch, timeout=30)
    assert isinstance(refused, Batch)
    assert refused.error is not None
    assert (refused.status, refused.error.code, refused.jobs) == ("failed", "INVALID_REQUEST", [])
    assert "requests.1.model" in refused.error.message
    assert rows(system) == before
    assert system.charges() == []
    assert len(site.asked) == asked


@pytest.mark.parametrize(
    ("kwargs", "field"),
    [
        ({"request": {"prompt": "a fox", "widht": 64}}, "widht"),
        ({"request": {"characters": [{"name": "Ada"}] * 5}}, "characters"),
        ({"request": "a fox"}, "request"),
        ({"prompt": "a fox"}, "kwargs"),
        ({"request": {"prompt": "a\x00fox"}}, "prompt"),
    ],
)
def test_a_raw_message_never_fails_as_a_task(system: System, kwargs: dict[str, Any], field: str) -> None:
    """By `send_task` the result is SUCCESS and its value a failed document that names the field; no row, no charge."""
    before = rows(system)
    task = "imagegen.generate_batch" if field == "characters" else "imagegen.generate_image"
    identity = uuid4()
    with Celery(broker=system.settings.broker, backend=system.settings.result_backend, set_as_current=False) as app:
        result = app.send_task(task, queue=system.settings.namespace, task_id=str(identity), kwargs=kwargs)
        document = result.get(timeout=30)
        assert result.state == "SUCCESS"
    assert (document["status"], document["error"]["code"]) == ("failed", "INVALID_REQUEST")
    assert document["error"]["message"].startswith(f"{field}: ")
    assert rows(system) == before
    assert system.charges() == []


def check_refused(job: Job, identity: UUID, words: str) -> None:
    assert job.error is not None
    assert (job.id, job.status, job.error.code, job.billed) == (identity, "failed", "INVALID_REQUEST", "no")
    assert words in job.error.message
