"""How long pictures and what was asked for are kept, per job type: the setting IMAGEGEN_RETENTION. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from imagegen.contracts import JobType
from imagegen.settings_values import SECONDS, BadValue, nearest, parse_list

ANY = "*"
"""Stands for the job types that are not named."""
SHORTEST = 3600
"""Seconds: whoever writes `30` means days, and would lose every picture within a minute."""

_EXAMPLE = "Write 30d, or a life per job type such as master_asset=365d,start_frame=30d,*=90d."


def parse_retention(value: Any) -> Any:
    """`30d`, or `master_asset=365d,start_frame=30d,*=90d`, to seconds by job type; `*`: every other one."""
    if not isinstance(value, str):
        return value
    items = parse_list(value)
    if len(items) == 1 and "=" not in items[0]:
        return {ANY: _life(items[0])}
    found: dict[str, int] = {}
    for item in items:
        job_type, sign, life = item.partition("=")
        if not sign:
            raise BadValue(f"{item!r} names no job type", _EXAMPLE)
        _known(job_type)
        if job_type in found:
            raise BadValue(f"names {job_type} twice", "Name each job type once.")
        found[job_type] = _life(life)
    return found


def lives(retention: Mapping[str, int]) -> dict[str, timedelta]:
    """The life of each job type that has one."""
    told = {one.value: retention.get(one.value, retention.get(ANY)) for one in JobType}
    return {one: timedelta(seconds=seconds) for one, seconds in told.items() if seconds is not None}


def _known(job_type: str) -> None:
    names = [one.value for one in JobType]
    if job_type not in {*names, ANY}:
        guess = nearest(job_type, names)
        hint = f"Did you mean {guess}? " if guess else ""
        raise BadValue(f"{job_type!r} is no job type", f"{hint}Choose among {', '.join(names)} and *.")


def _life(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([smhd])", text.lower())
    if not found:
        raise BadValue(f"{text!r} is no life of a picture", _EXAMPLE)
    seconds = int(found[1]) * SECONDS[found[2]]
    if seconds < SHORTEST:
        raise BadValue(f"{text!r} is shorter than an hour", _EXAMPLE)
    return seconds
