"""An S3 server for tests: moto over HTTP on a free loopback port, one per session, with a fresh bucket per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import count
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from storage.s3 import S3Blobs

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_numbers = count(1)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of the S3 server of this session."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(scope="session")
def s3_admin(s3_endpoint: str) -> Iterator[S3Blobs]:
    """A store that is only there for its client: making one takes a tenth of a second."""
    with closing(S3Blobs("admin", endpoint_url=s3_endpoint, aws=CREDENTIALS)) as blobs:
        yield blobs


@pytest.fixture
def s3_bucket(s3_admin: S3Blobs) -> str:
    """Name of an empty bucket of one's own."""
    name = f"pictures-{next(_numbers)}"
    s3_admin.client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3_open(s3_endpoint: str, s3_bucket: str) -> Iterator[Callable[..., S3Blobs]]:
    """Opens stores on this server, closed after the test; arguments as for `S3Blobs`, all with good defaults."""
    with ExitStack() as stack:

        def opened(bucket: str = s3_bucket, prefix: str = "", **options: Any) -> S3Blobs:
            given = {"endpoint_url": s3_endpoint, "aws": CREDENTIALS, **options}
            return stack.enter_context(closing(S3Blobs(bucket, prefix, **given)))

        yield opened
