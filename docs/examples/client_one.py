"""One picture from another Python service, and what became of it."""

from __future__ import annotations

import sys

from imagegen.client import Client, StillRunning


def main(broker: str, namespace: str = "imagegen") -> int:
    """Asks for one frame and waits for it; exit 0 with a picture, 1 without, 4 while it still runs."""
    with Client.celery(broker, namespace=namespace) as client:
        # The same key always names the same job: running this twice buys one picture.
        job = client.generate(
            "A lighthouse at dusk, one window lit, gulls around the lamp",
            job_type="start_frame",
            project_id="pebble-cove",
            scene_id="1",
            shot_id="1",
            idempotency_key="pebble-cove/1/1/start",
        )
        print(f"sent {job.id}")
        try:
            job = client.wait(job, timeout=300)
        except StillRunning as running:
            print(f"{running.id} goes on; ask for it later with client.get(id)")
            return 4
    if job.ok:
        print(f"{job.public_url} for ${job.cost.actual}")
        return 0
    if job.error is not None:
        print(f"{job.error.code}: {job.error.message} (billed: {job.error.billed})")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
