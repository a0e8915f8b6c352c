"""The Celery application, found by `celery -A tasks`."""

from typing import Any

from celery import Celery

from imagegen.ports import Services
from tasks import control
from tasks.pacing import keep_pace
from tasks.wiring import build


class ImagegenCelery(Celery):
    """Celery with `services`: everything a task or a command works with, built at first use in each process."""

    def task(self, *args: Any, **options: Any) -> Any:
        """Our tasks are ours alone: no other application in the same process is given them."""
        return super().task(*args, **{"shared": False, **options})

    @property
    def services(self) -> Services:
        """Raises `InvalidRequest` for wrong settings; connections are made when first needed."""
        return build(self)


def _application(**options: Any) -> ImagegenCelery:
    application = ImagegenCelery("imagegen", **options)
    application.config_from_object("celeryconfig")
    keep_pace(application)
    return application


# Here and not in `imports`: the `celery` command knows only what is registered once the application is loaded.
control.register()
app = _application()
