"""Our jobs beside a bare Celery chain, in one run: `python -m tests.performance.bench` (`make bench`).

Both do the same work against the same emulated provider, one after the other and again, each started from nothing on
parts of its own. The provider is a process whose CPU counts for neither. `docs/performance.md` tells how to read it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import requests
from rich.console import Console

from imagegen.images import publish_form
from tests.performance import picture_cost, tables
from tests.performance.counting import commands, kind_of, statements, usage
from tests.performance.figures import Counted, Figures, figures, median_of
from tests.performance.sides import RESULT, SIDE, Side, bare, emulated, ours

WARM_UP = 8
AGAIN = 50
LOOK_EVERY = 0.2
SETTLE = 1.0
PATIENCE = 240.0
SIDES = ("imagegen", "bare chain")
PUSHED = ("lpush", "rpush")

progress = Console(stderr=True)


@contextmanager
def _side(name: str, home: Path, provider: str, pictures: str) -> Iterator[Side]:
    started = ours(home, provider) if name == "imagegen" else bare(home, provider, pictures)
    with started as side:
        yield side


def _prompts(count: int) -> list[str]:
    """Each is its own, so that no cache answers."""
    return [f"picture {number} {uuid4()}" for number in range(count)]


def _submit(side: Side, prompts: list[str]) -> dict[str, float]:
    """Hands the jobs over; id to moment."""
    sent = {}
    for prompt in prompts:
        job_id = str(uuid4())
        sent[job_id] = time.time()
        side.submit(job_id, prompt)
    return sent


def _wait(side: Side, ids: list[str]) -> dict[str, Any]:
    """The results by id, as soon as all are there."""
    keys = [RESULT + job_id for job_id in ids]
    deadline = time.monotonic() + PATIENCE
    while (there := side.redis.exists(*keys)) < len(keys):
        if time.monotonic() > deadline:
            raise click.ClickException(f"{side.name}: {there} of {len(keys)} jobs done after {PATIENCE:g} s")
        time.sleep(LOOK_EVERY)
    found = {job_id: json.loads(told) for job_id, told in zip(ids, side.redis.mget(keys), strict=True)}
    failed = [told["result"] for told in found.values() if _failed(told)]
    if failed:
        raise click.ClickException(f"{side.name}: {len(failed)} jobs failed, the first: {str(failed[0])[:500]}")
    return found


def _failed(told: dict[str, Any]) -> bool:
    return bool(told["status"] != "SUCCESS" or told["result"].get("status", "completed") != "completed")


def _books(provider: str) -> dict[str, Any]:
    book: dict[str, Any] = requests.get(f"{provider}/__ledger", timeout=30).json()
    return book


def _logged(side: Side) -> int:
    return side.statement_log.stat().st_size if side.statement_log else 0


def measure(side: Side, provider: str, latency: str, jobs: int) -> Counted:
    """One run: warm up, look, work, look again."""
    _wait(side, list(_submit(side, _prompts(WARM_UP))))
    time.sleep(SETTLE)
    roots, log, book = side.roots(), _logged(side), _books(provider)
    pushed, before, own = commands(side.redis), usage(roots), time.process_time()
    prompts, begun = _prompts(jobs), time.time()
    sent = _submit(side, prompts)
    own = time.process_time() - own
    done = _wait(side, list(sent))
    after, now = usage(roots), commands(side.redis)
    now.subtract(pushed)
    ended = {job_id: _ended(told) for job_id, told in done.items()}
    time.sleep(SETTLE)
    late, logged = _books(provider), _statements(side, log)
    ready = {charge["prompt"]: datetime.fromisoformat(charge["readyAt"]).timestamp() for charge in late["charges"]}
    return Counted(
        side=side.name,
        latency=latency,
        jobs=jobs,
        seconds=max(ended.values()) - begun,
        cpu={"submission": own, **{name: after[name][0] - before[name][0] for name in before}},
        grown={name: after[name][1] - before[name][1] for name in before},
        lags=[ended[job_id] - ready[_prompt(told)] for job_id, told in done.items()],
        times=[ended[job_id] - sent[job_id] for job_id in sent],
        messages=sum(now[name] for name in PUSHED),
        events=now["publish"],
        commands=sum(now.values()),
        polls=late["polls"] - book["polls"],
        requests=sum(late["requests"].values()) - sum(book["requests"].values()),
        pictures=jobs if side.fits_pictures else 0,
        picture_cpu=_picture_cpu(provider, late["charges"][-1]["id"]),
        hits=_asked_again(side, prompts[:AGAIN]) if side.remembers else None,
        statements=logged,
    )


def _asked_again(side: Side, prompts: list[str]) -> float:
    """The share of the same requests, sent once more, that the cache answers."""
    done = _wait(side, list(_submit(side, prompts)))
    return sum(bool(told["result"]["cacheHit"]) for told in done.values()) / len(prompts)


def _picture_cpu(provider: str, order: str) -> float:
    """CPU seconds of fitting one of the run's pictures, in this process and alone."""
    headers = {"Authorization": "Bearer bench"}
    record = requests.get(
        f"{provider}/api/v1/nanobanana/record-info", params={"taskId": order}, headers=headers, timeout=30
    ).json()["data"]
    data = requests.get(record["response"]["resultImageUrl"], timeout=30).content
    return picture_cost.cpu_ms(lambda: publish_form(data, SIDE, SIDE, "jpeg"), rounds=9) / 1000


def _ended(told: dict[str, Any]) -> float:
    """When the picture was published. Ours says so itself: its result is stored a second time, for safety."""
    return datetime.fromisoformat(told["result"].get("completedAt") or told["date_done"]).timestamp()


def _prompt(told: dict[str, Any]) -> str:
    result = told["result"]
    return str(result.get("sentPrompt") or result["prompt"])


def _statements(side: Side, offset: int) -> Counter[str]:
    if side.statement_log is None:
        return Counter()
    with side.statement_log.open() as log:
        log.seek(offset)
        return Counter(kind_of(one) for one in statements(log.read()))


def run(latencies: list[str], jobs: int, repeat: int, pictures: str) -> list[Figures]:
    """All runs, the two sides taking turns."""
    found = []
    for latency in latencies:
        for turn in range(repeat):
            for name in SIDES:
                with (
                    tempfile.TemporaryDirectory(prefix="imagegen-bench-") as folder,
                    emulated(Path(folder, "provider"), latency) as provider,
                    _side(name, Path(folder, "side"), provider, pictures) as side,
                ):
                    found.append(figures(measure(side, provider, latency, jobs)))
                tables.line(progress, found[-1], turn + 1, repeat)
    return found


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    packages = ("celery", "kombu", "redis", "requests", "sqlalchemy", "pyvips")
    cores = len(os.sched_getaffinity(0))
    return {"cores": cores, "python": platform.python_version(), **{name: version(name) for name in packages}}


@click.command()
@click.option("--jobs", type=click.IntRange(1), default=500, show_default=True, help="Jobs per run.")
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Runs per side and latency.")
@click.option("--latency", "latencies", multiple=True, default=("0", "lognormal:8:0.5"), show_default=True)
@click.option("--bare-pictures", type=click.Choice(["none", "same"]), default="none", show_default=True,
              help="Whether the bare chain fits pictures and makes thumbnails as we do.")  # fmt: skip
@click.option("--pictures/--no-pictures", default=True, help="The CPU of one picture, too.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures there.")
def main(
    jobs: int, repeat: int, latencies: tuple[str, ...], bare_pictures: str, pictures: bool, json_file: Path | None
) -> None:
    """Measure our jobs beside a bare Celery chain, and the CPU of one picture."""
    found = run(list(latencies), jobs, repeat, bare_pictures)
    middles = [
        median_of([one for one in found if (one.side, one.latency) == (side, latency)])
        for latency in latencies
        for side in SIDES
    ]
    costs = picture_cost.rows() if pictures else []
    out = Console(width=110 if not sys.stdout.isatty() else None)
    out.print(f"{jobs} jobs a run, {repeat} runs a side in turns, medians; {machine()}", highlight=False)
    for latency in latencies:
        out.print(tables.comparison([one for one in middles if one.latency == latency], latency))
    if costs:
        out.print(tables.pictures(costs))
    if json_file is not None:
        whole = {"machine": machine(), "jobs": jobs, "runs": [one.document() for one in found],
                 "medians": [one.document() for one in middles],
                 "pictures": [dict(zip(tables.PICTURE_COLUMNS, row, strict=True)) for row in costs]}  # fmt: skip
        json_file.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
