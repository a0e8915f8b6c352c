"""A call as `httpx2` sends it, and its answer: what the plain and the asynchronous client have in common."""

from __future__ import annotations

import random
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import httpx2

from imagegen.client.protocol import Call, Lost, Reply, Site, Token
from imagegen.client.talks import Talks
from imagegen.client.webhooks import Secret, VerifiesWebhooks
from imagegen.clock import SystemClock

CONNECT_TIMEOUT = 2.0
"""Seconds until a service that does not answer the connection counts as away."""
IDLE = 4.0
"""Seconds that a connection is kept for the next call: less than the 5 after which uvicorn closes it."""
KEPT = 20
"""Idle connections kept at most. Open ones are as many as there are calls: waiting ones hold theirs."""

_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class HttpClient(VerifiesWebhooks):
    """Where the service is and what is said to it; how that is sent is the client's own."""

    def __init__(self, url: str, token: Token, *, webhook_secret: Secret, patience: float) -> None:
        self._expect_webhooks(webhook_secret)
        self._site = Site.of(url, token)
        self._clock = SystemClock()
        self._talks = Talks(self._site.url, self._clock, random.Random().random, patience)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._site.url!r})"


def pool_options(site: Site) -> dict[str, Any]:
    """What a pool of connections to the site is made with. Proxies, netrc and certificates of the environment are not
    looked at."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=KEPT, keepalive_expiry=IDLE)
    agent = {"User-Agent": f"imagegen-client/{_version()}", "Accept": "application/json"}
    return {"base_url": site.url, "headers": agent, "trust_env": False, "follow_redirects": False, "limits": limits}


def request_options(call: Call, site: Site) -> dict[str, Any]:
    """The call as arguments of `request`."""
    return {
        "method": call.method,
        "url": call.path,
        "params": dict(call.query) or None,
        "headers": {**call.headers, **site.headers()},
        "content": call.body,
        "timeout": httpx2.Timeout(call.seconds, connect=min(CONNECT_TIMEOUT, call.seconds)),
    }


def reply_of(response: httpx2.Response) -> Reply:
    """The answer that came."""
    return Reply(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, response.content
    )


def unread(response: httpx2.Response) -> tuple[int, str]:
    """Status and media type of an answer whose body was not read."""
    return response.status_code, str(response.headers.get("content-type", ""))


def source(response: httpx2.Response) -> httpx2.EventSource:
    """The blocks of an answer that is a stream of events, however long one is."""
    return httpx2.EventSource(response, max_event_size=None)


def lost(error: httpx2.RequestError) -> Lost:
    """What is known where none came."""
    return Lost(f"{type(error).__name__} {error}".strip(), not isinstance(error, _UNSENT))


def _version() -> str:
    try:
        return version("imagegen-celery")
    except PackageNotFoundError:
        return "0"
