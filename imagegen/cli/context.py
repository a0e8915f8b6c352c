"""From a command to the services: the worker application by name, and the running `up` by its folder."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click
from celery.app.utils import find_app

from imagegen.embedded.instance import find_instance
from imagegen.errors import InvalidRequest, NotServed, PartUnavailable
from imagegen.ports import Services
from imagegen.settings import Settings

WORKER_APP = "tasks"
"""What `celery -A` and the commands load; it lies in a checkout and in the image, not in the wheel."""


class NoWorkerApp(NotServed):
    """The worker application is not here: only the wheel is installed, or the command runs in another folder."""


def settings_here() -> Settings:
    """The settings of the environment and the working folder; raises `InvalidRequest`."""
    return Settings.load(os.environ, Path.cwd())


def join_running(otherwise: str = "start one with `imagegen up`, or set IMAGEGEN_DATABASE_URL") -> Settings:
    """The settings, completed by the running `up` of IMAGEGEN_HOME where no database is configured.

    Its addresses go into this process's environment, where the worker application reads its settings.
    Raises `PartUnavailable` naming the folder where none answers, and what to do `otherwise`.
    """
    settings = settings_here()
    if not settings.database_embedded:
        return settings
    instance = find_instance(settings.home)
    if instance is None:
        raise PartUnavailable(
            f"no running imagegen in {settings.home}: name its folder with IMAGEGEN_HOME, {otherwise}",
            {"part": "imagegen", "folder": str(settings.home)},
        )
    os.environ.update(instance.env)
    return settings_here()


def services_of(ctx: click.Context) -> Services:
    """The services of the worker application, in either form of the command line.

    Raises `PartUnavailable` (no running `up`), `NoWorkerApp` (bare wheel), `InvalidRequest` (wrong settings).
    """
    app = getattr(ctx.find_root().obj, "app", None)
    if app is None:
        # Looked for before it is asked of PostgreSQL: in a bare wheel that is the more helpful answer.
        app = worker_app()
    join_running()
    services: Services | None = getattr(app, "services", None)
    if services is None:
        raise InvalidRequest.of(
            "-A", f"{app!r} is not imagegen's application", f"Run in imagegen's checkout, with -A {WORKER_APP}."
        )
    return services


def admission() -> Any:
    """`imagegen.admission`, by name: it decodes pictures, with a library that a bare wheel does not bring."""
    return importlib.import_module("imagegen.admission")


def cancelling() -> Any:
    """`imagegen.cancelling`, by name for the same reason."""
    return importlib.import_module("imagegen.cancelling")


def retrying() -> Any:
    """`imagegen.retrying`, by name for the same reason."""
    return importlib.import_module("imagegen.retrying")


def erasing() -> Any:
    """`imagegen.erasing`, by name for the same reason."""
    return importlib.import_module("imagegen.erasing")


def tokens() -> Any:
    """`imagegen.api.tokens`, by name: it needs the extra `api`. Raises `NotServed` without."""
    try:
        return importlib.import_module("imagegen.api.tokens")
    except ModuleNotFoundError as error:
        raise NotServed("tokens need the HTTP door's packages: pip install 'imagegen-celery[api]'") from error


def estimating() -> Any:
    """`imagegen.estimating`, by name for the same reason."""
    return importlib.import_module("imagegen.estimating")


def examination() -> Any:
    """`imagegen.doctor.examination`, by name for the same reason."""
    return importlib.import_module("imagegen.doctor.examination")


def worker_app() -> Any:
    """The application that `-A tasks` names, from the working folder or PYTHONPATH; raises `NoWorkerApp`."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return find_app(WORKER_APP)
    except ModuleNotFoundError as error:
        if error.name not in {WORKER_APP, f"{WORKER_APP}.celery"}:
            raise InvalidRequest.of(
                WORKER_APP, f"cannot be loaded ({error})", "Install what a worker needs: `make` or requirements.lock."
            ) from error
        raise NoWorkerApp(
            f"this command needs the worker application {WORKER_APP!r}, which is not in {here}: it runs from a "
            "checkout or the image, not from the bare package",
            {"folder": here},
        ) from error
