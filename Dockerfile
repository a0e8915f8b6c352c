# The worker application: every worker, beat, Flower and the HTTP door run from this one image.
FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PYTHONPATH=/app PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md celeryconfig.py ./
COPY imagegen imagegen
COPY storage storage
COPY tasks tasks
RUN pip install --no-deps --no-build-isolation -e . && useradd --create-home worker
USER worker
# exec form: the worker itself is PID 1 and gets the stop signal.
CMD ["celery", "-A", "tasks", "worker", "--help"]
