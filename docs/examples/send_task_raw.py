"""Without imagegen installed: the task by its name, JSON in, the finished document out of the Celery result."""

from __future__ import annotations

import sys
from uuid import uuid4

from celery import Celery


def main(broker: str, namespace: str = "imagegen") -> int:
    """Sends one request and waits for its document; exit 0 with a picture."""
    app = Celery("caller", broker=broker, backend=broker, set_as_current=False)
    # The task id is the job's id. Sending the same id again is harmless, so keep it until the result has come.
    job_id = str(uuid4())
    result = app.send_task(
        "imagegen.generate_image",
        queue=namespace,
        task_id=job_id,
        kwargs={"request": {"prompt": "a fox in a red coat", "width": 512, "height": 512, "owner": "billing-service"}},
    )
    # Always SUCCESS, whatever became of the picture; the document tells.
    document = result.get(timeout=300)
    print(f"{document['status']} {document['jobId']} {document['publicUrl'] or document['error']}")
    return 0 if document["status"] == "completed" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
