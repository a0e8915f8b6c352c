"""The HTTP door as an ASGI application: `uvicorn tasks.asgi:app`. It does not open where tokens cannot be checked."""

import gc
import sys

from imagegen.api.app import create_app
from imagegen.api.logs import hide_queries
from imagegen.api.setup import setup
from imagegen.clock import SystemClock
from imagegen.errors import InvalidRequest
from tasks.celery import app as celery_app
from tasks.wiring import part_checks, settings

USAGE = 2


def _refused(error: InvalidRequest) -> SystemExit:
    print(f"error {error.code}: {error}", file=sys.stderr)
    return SystemExit(USAGE)


try:
    settings().check()
    _setup = setup(settings(), SystemClock(), part_checks(celery_app))
except InvalidRequest as error:
    raise _refused(error) from None
hide_queries()
app = create_app(lambda: celery_app.services, _setup)
# What was imported is never garbage; looked through all the same, it stops every caller for a tenth of a second.
gc.collect()
gc.freeze()
