"""`imagegen bucket`: makes the bucket ready; its policy is touched only with `--public`."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import ModuleType

import click

from imagegen.errors import ImagegenError, InvalidRequest, PartUnavailable
from imagegen.settings import Settings

FAILED, WRONG, UNREACHABLE = 1, 2, 3
"""Exit codes: the store refuses, wrong settings or a bare wheel, the store cannot be reached."""


@click.command()
@click.option("--public", is_flag=True, help="Let everyone read project_* (the published pictures), nothing else.")
@click.option("--dry-run", is_flag=True, help="Print the policy that --public would add; call nothing.")
@click.pass_context
def bucket(ctx: click.Context, public: bool, dry_run: bool) -> None:
    """Create the bucket of IMAGEGEN_STORAGE_URL if it is missing."""
    try:
        storage = _storage()
        blobs = storage.bucket_of(Settings.load(os.environ, Path.cwd()))
        if dry_run:
            click.echo(json.dumps(storage.public_read_policy(blobs), indent=2))
            return
        for sentence in storage.prepare_bucket(blobs, public=public).sentences():
            click.echo(sentence)
    except ImagegenError as error:
        click.echo(f"imagegen bucket: {error}", err=True)
        ctx.exit(_exit_code(error))


def _storage() -> ModuleType:
    """The application's module, by name: the library does not import it, and the wheel does not carry it."""
    try:
        return importlib.import_module("storage.bucket")
    except ModuleNotFoundError as error:
        raise InvalidRequest(
            f"this needs the application ({error.name} is missing): run it from a checkout or the image, "
            "the wheel alone cannot prepare a bucket"
        ) from error


def _exit_code(error: ImagegenError) -> int:
    if isinstance(error, InvalidRequest):
        return WRONG
    return UNREACHABLE if isinstance(error, PartUnavailable) else FAILED
