"""The worker application: wiring and timing, no rules. `celery -A tasks …` finds `tasks.celery`."""
