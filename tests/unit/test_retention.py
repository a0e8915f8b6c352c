"""The setting IMAGEGEN_RETENTION: one life, or one per job type."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from imagegen.errors import InvalidRequest
from imagegen.retention import lives
from imagegen.settings import Settings

DAY = timedelta(days=1)


def read(text: str, folder: Path) -> dict[str, timedelta]:
    return lives(Settings.load({"IMAGEGEN_RETENTION": text}, folder).retention)


def test_unset_keeps_everything(tmp_path: Path) -> None:
    """Without the setting nothing is ever erased by itself."""
    assert lives(Settings.load({}, tmp_path).retention) == {}


def test_one_life_for_all(tmp_path: Path) -> None:
    """A duration alone is for every job type."""
    assert read("30d", tmp_path) == dict.fromkeys(("master_asset", "start_frame", "end_frame", "inpaint"), 30 * DAY)


def test_lives_by_job_type(tmp_path: Path) -> None:
    """Named types have their own, `*` is for the others, and without `*` the others are kept."""
    told = read("master_asset=365d, start_frame=30d, *=90d", tmp_path)
    assert told == {
        "master_asset": 365 * DAY, "start_frame": 30 * DAY, "end_frame": 90 * DAY, "inpaint": 90 * DAY,
    }  # fmt: skip
    assert read("inpaint=36h", tmp_path) == {"inpaint": timedelta(hours=36)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("30", "'30' is no life of a picture"),
        ("30s", "'30s' is shorter than an hour"),
        ("a month", "'a' names no job type"),
        ("start_frames=30d", "'start_frames' is no job type"),
        ("start_frame=30d,start_frame=1d", "names start_frame twice"),
        ("start_frame=", "'' is no life of a picture"),
    ],
)
def test_wrong_lives_are_told(tmp_path: Path, text: str, reason: str) -> None:
    """Field, reason and remedy; a bare number is refused, for it would be seconds."""
    with pytest.raises(InvalidRequest) as refusal:
        read(text, tmp_path)
    (problem,) = refusal.value.problems
    assert (problem["field"], problem["reason"]) == ("IMAGEGEN_RETENTION", reason)
    assert "30d" in problem["remedy"] or "Choose among" in problem["remedy"] or "once" in problem["remedy"]
