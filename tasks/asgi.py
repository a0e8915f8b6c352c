"""The HTTP door as an ASGI application: `uvicorn tasks.asgi:app`."""

from imagegen.api.app import create_app
from tasks.celery import app as celery_app

app = create_app(lambda: celery_app.services)
