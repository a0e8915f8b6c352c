"""Four characters of one book: accepted together, drawn side by side, kept even if one of them fails."""

from __future__ import annotations

import sys

from imagegen.client import Client

CHARACTERS = [
    {"name": "Marisol Tern", "description": "a keeper's granddaughter who maps tide pools", "pose": "on tiptoe"},
    {"name": "Grandfather Pell", "description": "the last keeper of the lamp, stooped like a heron"},
    {"name": "Bramble Thistlewick", "description": "a hedgehog clock-mender, knee-high and perfectly round"},
    {"name": "Ondine", "description": "a whale calf made of evening mist", "setting": "night sky over the cove"},
]
STYLE = {
    "name": "pebble-cove-watercolour",
    "modifiers": ["loose transparent watercolour", "thin broken outline in sepia ink"],
    "palette": ["paper cream #FBF4E4", "tide blue #4F8FA8"],
    "avoid": ["lettering", "a second figure"],
}


def main(broker: str, namespace: str = "imagegen") -> int:
    """Orders the batch and prints a line per character; exit 0 when every picture came."""
    with Client.celery(broker, namespace=namespace) as client:
        batch = client.batch(CHARACTERS, style=STYLE, project_id="pebble-cove", width=896, height=1200)
        batch = client.wait(batch, timeout=600)
    for job in batch.jobs:
        print(f"{job.character}: {job.public_url if job.ok else job.error}")
    print(f"{batch.status}, ${batch.cost.actual} together")
    return 0 if batch.ok else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
