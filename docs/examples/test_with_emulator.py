"""Testing your own code against every provider's API without an account: the fixture comes with the wheel.

Run it with `pytest docs/examples/test_with_emulator.py`. Point whatever your code takes as the provider's address at
`imagegen_emulator.url`; the books say what a real account would have been charged.
"""

from __future__ import annotations

from typing import Any

import requests

from imagegen.emulator import Emulator

KEY = {"Authorization": "Bearer any-key-will-do"}


def buy(provider: str, prompt: str) -> dict[str, Any]:
    """A stand-in for your code: orders a picture from nanobananaapi.ai and reads how it stands."""
    root = f"{provider}/api/v1/nanobanana"
    order = {"prompt": prompt, "aspectRatio": "16:9", "resolution": "1K"}
    answer = requests.post(f"{root}/generate-2", json=order, headers=KEY, timeout=10).json()
    if answer["code"] != 200:
        raise RuntimeError(answer["msg"])
    task = {"taskId": answer["data"]["taskId"]}
    record: dict[str, Any] = requests.get(f"{root}/record-info", params=task, headers=KEY, timeout=10).json()["data"]
    return record


def test_a_picture_is_bought_once(imagegen_emulator: Emulator) -> None:
    """The picture is there, it is a JPEG, and exactly one charge was made."""
    record = buy(imagegen_emulator.url, "Mira, a pilot in a red scarf, above snowy mountains")
    picture = requests.get(record["response"]["resultImageUrl"], timeout=10)
    assert picture.headers["Content-Type"] == "image/jpeg"
    assert [charge["amount"] for charge in imagegen_emulator.ledger()["charges"]] == ["0.04"]


def test_a_limit_costs_nothing(imagegen_emulator: Emulator) -> None:
    """A scripted fault strikes the first order alone; what was refused was not charged."""
    limit = imagegen_emulator.fault("rate_limit", provider="nanobanana", times=1)
    try:
        buy(imagegen_emulator.url, "a fox")
    except RuntimeError:
        buy(imagegen_emulator.url, "a fox")
    assert limit.fired == 1
    assert imagegen_emulator.ledger()["count"] == 1
