"""Celery's settings, one module for every process: workers, beat, Flower, remote control.

Values that look odd have their reason beside them; `docs/operations.md` tells which to change when.
"""

from kombu import Queue

from imagegen import policies
from tasks.wiring import settings

_settings = settings()
_ns = _settings.namespace

broker_url = _settings.broker
result_backend = _settings.result_backend

accept_content = ["json"]
result_accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"
timezone = "UTC"

task_default_queue = _ns
task_queues = [Queue(name) for name in (_ns, *(f"{_ns}.{kind}" for kind in policies.QUEUES))]
task_create_missing_queues = False
task_routes = {
    "imagegen.generate_image": _ns,
    "imagegen.generate_batch": _ns,
    "imagegen.cancel": _ns,
    "imagegen.retry": _ns,
    "imagegen.estimate": _ns,
    "imagegen.generate": f"{_ns}.generate",
    "imagegen.poll": f"{_ns}.poll",
    "imagegen.download": f"{_ns}.transfer",
    "imagegen.upload": f"{_ns}.transfer",
    "imagegen.reconcile": f"{_ns}.transfer",
    "imagegen.finish_batch": f"{_ns}.housekeeping",
    "imagegen.collect": f"{_ns}.housekeeping",
    "imagegen.deliver": f"{_ns}.housekeeping",
    "imagegen.sweep": f"{_ns}.housekeeping",
    "imagegen.erase": f"{_ns}.housekeeping",
    "imagegen.callbacks": f"{_ns}.housekeeping",
    "imagegen.watch": f"{_ns}.housekeeping",
    "imagegen.watch_money": f"{_ns}.housekeeping",
}

# A message is a hint: the row in PostgreSQL sends another when this one is lost. So acknowledge early, and nothing
# is ever redelivered into a second run.
task_acks_late = False
worker_prefetch_multiplier = 1
# Hints carry their job's priority (`tasks.canvas`) and so do the links after them. All else has none, which on Redis
# means first: a request becomes a row, and the sweep runs, whatever waits to be bought. A worker takes the most urgent
# message of all its queues, for the transport asks for them priority by priority.
task_inherit_parent_priority = True
# The only results kept are finished documents (`tasks.results`); a chord counts its members without them.
task_ignore_result = True
result_expires = _settings.result_ttl
result_chord_expires = policies.CHORD_EXPIRES
task_annotations = {name: {"rate_limit": rate} for name, rate in policies.RATE_LIMITS.items()}

broker_connection_max_retries = None
broker_connection_retry_on_startup = True
broker_transport_options = {
    "visibility_timeout": policies.VISIBILITY_TIMEOUT,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "health_check_interval": 25,
}
result_backend_transport_options = {
    "visibility_timeout": policies.VISIBILITY_TIMEOUT,
    "retry_policy": {"timeout": 2.0, "max_retries": 1},
}
visibility_timeout = policies.VISIBILITY_TIMEOUT
redis_socket_connect_timeout = 5
redis_socket_timeout = 30
redis_backend_health_check_interval = 25

worker_send_task_events = True
worker_hijack_root_logger = False
# SIGTERM stops a worker warm, which waits for its running tasks and for nothing else. This is for SIGQUIT alone.
worker_soft_shutdown_timeout = 20.0
worker_cancel_long_running_tasks_on_connection_loss = False

imports = ("tasks.entry", "tasks.commands", "tasks.stages", "tasks.housekeeping", "tasks.deliver", "tasks.collect")
beat_schedule = {
    "sweep": {
        "task": "imagegen.sweep",
        "schedule": policies.SWEEP_EVERY,
        # A sweep that waited longer than this has been overtaken by the next.
        "options": {"expires": policies.SWEEP_EVERY * 4},
    },
    "erase": {
        "task": "imagegen.erase",
        "schedule": policies.ERASE_EVERY,
        "options": {"expires": policies.ERASE_EVERY},
    },
    "callbacks": {
        "task": "imagegen.callbacks",
        "schedule": policies.CALLBACKS_EVERY,
        "options": {"expires": policies.CALLBACKS_EVERY},
    },
    "watch": {
        "task": "imagegen.watch",
        "schedule": policies.WATCH_EVERY,
        "options": {"expires": policies.WATCH_EVERY},
    },
    "watch_money": {
        "task": "imagegen.watch_money",
        "schedule": policies.WATCH_MONEY_EVERY,
        "options": {"expires": policies.WATCH_MONEY_EVERY},
    },
}
