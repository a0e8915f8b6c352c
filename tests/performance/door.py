"""How long the 202 takes under a steady load, beside a bare FastAPI and SQLModel insert in the same run.

    python -m tests.performance.door [--rate 200] [--seconds 30]

Requests are sent on time whatever the answers do (a late one counts from when it was due), over kept-alive
connections. Rows and hints are real; no worker takes them meanwhile.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from imagegen.cli.token import mint_here
from imagegen.cli.up import TOKEN_LIFE as LIFE
from imagegen.cli.up import WORKERS, Options, running
from imagegen.embedded.addresses import HOST, answers, free_port
from imagegen.embedded.environment import Plan

SENDERS = 16


def load(url: str, path: str, headers: Mapping[str, str], rate: int, seconds: float) -> list[tuple[float, int]]:
    """Seconds and status of each request, in no order."""
    found: list[tuple[float, int]] = []
    begin = time.monotonic() + 0.2
    total = int(rate * seconds)

    def send(number: int) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        for turn in range(number, total, SENDERS):
            due = begin + turn / rate
            time.sleep(max(0.0, due - time.monotonic()))
            body = json.dumps({"prompt": f"a fox, take {turn}"})
            connection.request("POST", path, body, {**headers, "Content-Type": "application/json"})
            reply = connection.getresponse()
            reply.read()
            found.append((time.monotonic() - due, reply.status))
        connection.close()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def report(name: str, found: list[tuple[float, int]]) -> None:
    """One line of the table, milliseconds."""
    times = sorted(seconds * 1000 for seconds, _ in found)
    shares = [times[min(len(times) - 1, int(len(times) * share))] for share in (0.5, 0.95, 0.99)]
    wrong = sum(status != 202 for _, status in found)
    print(f"{name:<28} {len(times):>6} {wrong:>6} " + " ".join(f"{one:>8.1f}" for one in [*shares, times[-1]]))


@contextmanager
def bare(database_url: str) -> Iterator[str]:
    """The bare application; its address."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.performance.bare_door:app", "--port", str(port)]
    env = {"BARE_DATABASE_URL": database_url, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([*command, "--no-access-log", "--log-level", "error"], env=env) as process:
        try:
            while not answers(f"http://{HOST}:{port}/health"):
                time.sleep(0.1)
            yield f"http://{HOST}:{port}"
        finally:
            process.terminate()


def main() -> None:
    """Both in turn on one PostgreSQL."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imagegen-door-") as folder:
        plan = Plan.isolated(Path(folder, "home"), IMAGEGEN_API_PORT=str(free_port()), IMAGEGEN_HTTP_LIMIT="1000000/m")
        options = Options(workers=WORKERS[-1:], beat=False, flower=False, report=lambda line: None)
        with running(plan, options) as run:
            settings = run.settings
            token = mint_here(settings, "bench", service=False, ttl=LIFE)
            headers = {"Authorization": f"Bearer {token}"}
            print(f"{told.rate}/s for {told.seconds:.0f} s; milliseconds from when a request was due to its answer")
            print(f"{'':<28} {'sent':>6} {'wrong':>6} {'p50':>8} {'p95':>8} {'p99':>8} {'max':>8}")
            url = run.instance.addresses["api"]
            load(url, "/api/images/generate", headers, 50, 1)
            report("imagegen 202", load(url, "/api/images/generate", headers, told.rate, told.seconds))
            with bare(settings.database) as other:
                load(other, "/pictures", {}, 50, 1)
                report("bare FastAPI and SQLModel", load(other, "/pictures", {}, told.rate, told.seconds))


if __name__ == "__main__":
    main()
