"""The measure: the same four steps as a bare Celery chain. No database, no ledger, no recovery, no limits.

    generate ─► poll (self.retry(countdown=1)) ─► download ─► upload

Only the last step keeps its result, because somebody waits for it. `BARE_PICTURES=same` has `upload` fit the picture
and make its thumbnail as imagegen does; without it the provider's file is stored as it came.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests
from celery import Celery, Task
from kombu import Queue

from imagegen.images import publish_form

PREFIX = "bare"
SIDE = 1024
TIMEOUT = 30.0

app = Celery("bare", broker=os.environ.get("BARE_REDIS"), backend=os.environ.get("BARE_REDIS"))
app.conf.update(
    task_default_queue=f"{PREFIX}.generate",
    task_queues=[Queue(f"{PREFIX}.{kind}") for kind in ("generate", "poll", "transfer")],
    task_routes={
        f"{PREFIX}.generate": f"{PREFIX}.generate",
        f"{PREFIX}.poll": f"{PREFIX}.poll",
        f"{PREFIX}.download": f"{PREFIX}.transfer",
        f"{PREFIX}.upload": f"{PREFIX}.transfer",
    },
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)
_local = threading.local()


def _http() -> requests.Session:
    """One session per thread, so that connections are kept."""
    if not hasattr(_local, "http"):
        _local.http = requests.Session()
        _local.http.trust_env = False
        _local.http.headers["Authorization"] = "Bearer bench"
    session: requests.Session = _local.http
    return session


def _api(path: str) -> str:
    return f"{os.environ['BARE_PROVIDER']}/api/v1/nanobanana/{path}"


def _data(response: requests.Response) -> Any:
    body = response.json()
    if body["code"] != 200:
        raise RuntimeError(f"the provider answered {body['code']}: {body.get('msg')}")
    return body["data"]


@app.task(name=f"{PREFIX}.generate", ignore_result=True)
def generate(prompt: str) -> dict[str, str]:
    """Orders the picture."""
    body = {
        "prompt": prompt,
        "imageUrls": [],
        "aspectRatio": "1:1",
        "resolution": "1K",
        "outputFormat": "jpg",
    }
    order = _data(_http().post(_api("generate-2"), json=body, timeout=TIMEOUT))
    return {"prompt": prompt, "order": order["taskId"]}


@app.task(bind=True, name=f"{PREFIX}.poll", ignore_result=True, max_retries=None)
def poll(self: Task, job: dict[str, str]) -> dict[str, str]:
    """Asks once a second until the picture is there."""
    record = _data(_http().get(_api("record-info"), params={"taskId": job["order"]}, timeout=TIMEOUT))
    if record["successFlag"] == 0:
        raise self.retry(countdown=1)
    return {**job, "url": record["response"]["resultImageUrl"]}


@app.task(name=f"{PREFIX}.download", ignore_result=True)
def download(job: dict[str, str]) -> dict[str, str]:
    """Fetches the file."""
    response = _http().get(job["url"], timeout=TIMEOUT)
    response.raise_for_status()
    path = Path(os.environ["BARE_FOLDER"], f"{uuid4()}.part")
    path.write_bytes(response.content)
    return {**job, "path": str(path)}


@app.task(name=f"{PREFIX}.upload")
def upload(job: dict[str, str]) -> dict[str, str]:
    """Publishes it."""
    path = Path(job["path"])
    final = path.with_suffix(".jpeg")
    if os.environ.get("BARE_PICTURES") == "same":
        picture = publish_form(path.read_bytes(), SIDE, SIDE, "jpeg")
        final.write_bytes(picture.data)
        final.with_suffix(".webp").write_bytes(picture.thumbnail)
        path.unlink()
    else:
        path.rename(final)
    return {"prompt": job["prompt"], "url": final.as_uri()}
