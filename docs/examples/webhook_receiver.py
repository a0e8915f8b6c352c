"""Orders one picture and is told of it: a receiver that verifies, answers at once, and handles each event once."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from imagegen.client import CeleryClient, Client, InvalidRequest, Job, StillRunning, WebhookEvent

events: dict[str, WebhookEvent] = {}
"""By id: a webhook may come twice. A real service keeps the ids in its database, with what it did about them."""


def refused(client: CeleryClient, job: Job) -> str | None:
    """Why the order was never accepted: what was not accepted is never told of."""
    try:
        error = client.get(job).error
    except StillRunning:
        return None
    return error.message if error is not None and error.code == "INVALID_REQUEST" else None


def main(broker: str, namespace: str, secret: str, port: str = "0") -> int:
    """Exit 0 with the picture's address, 1 without a picture. `secret` is the workers' IMAGEGEN_WEBHOOK_SECRET."""
    client = Client.celery(broker, namespace=namespace, webhook_secret=secret)

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            # The signature covers the bytes as they came: verify them before anything parses them.
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                event = client.verify_webhook(body, dict(self.headers))
            except InvalidRequest:
                self.send_error(400)
                return
            self.send_response(204)
            self.end_headers()
            events.setdefault(event.id, event)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with client, HTTPServer(("127.0.0.1", int(port)), Receiver) as server:
        address = f"http://127.0.0.1:{server.server_port}/pictures"
        job = client.generate("A paper boat in a puddle, morning light", callback_url=address)
        server.timeout = 2.0
        while not any(event.document.id == job.id for event in events.values()):
            server.handle_request()
            if refusal := refused(client, job):
                print(refusal)
                return 1
    told = next(event for event in events.values() if event.document.id == job.id)
    print(told.type, getattr(told.document, "public_url", None))
    return 0 if told.document.ok else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
