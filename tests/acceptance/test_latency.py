"""What imagegen adds to the provider's own time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from imagegen.emulator import Emulator
from tests.acceptance.system import started, words

PROVIDER_SECONDS = 8.0


def test_five_scenes_take_little_longer_than_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five 1920x1080 scenes at 8 s of provider time are all published within 20 s, each charged once."""
    with Emulator(latency=PROVIDER_SECONDS, plain=True) as emulator, started(tmp_path / "home", emulator) as system:
        begun = time.monotonic()
        jobs = [
            system.client.generate(words("a scene"), job_type="start_frame", scene_id="1", shot_id=str(number))
            for number in range(5)
        ]
        done = [system.client.wait(job, timeout=40) for job in jobs]
        taken = time.monotonic() - begun
        assert [job.status for job in done] == ["completed"] * 5
        assert {(job.width, job.height) for job in done} == {(1920, 1080)}
        assert len(system.charges()) == 5
        with capsys.disabled():
            print(f"\nfive scenes in {taken:.1f} s, {taken - PROVIDER_SECONDS:.1f} s above the provider's time")
        assert taken < 20
