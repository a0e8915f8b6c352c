"""The only user of `requests`: one total deadline per call, and a plain answer to "did it leave us?".

    NotSentError   name resolution, connection refused, connect timeout, TLS handshake: no byte of the request left
    LostAnswer     it left and no whole answer came: reset, timeout, truncated or oversized answer

Nothing is repeated and no redirect of an API call is followed: a second POST could buy a second picture. Neither
headers, bodies nor query strings are logged or put into messages: they carry keys, prompts and signatures.

A kept-alive connection may have been closed by the server while it rested, and then nobody can tell whether a POST was
read. So whatever is not a GET goes over a fresh connection. Measured on loopback: that costs 0.1 ms of CPU over HTTP
and 2 ms over TLS 1.3, beside seconds of drawing. GETs reuse a connection that rested up to `KEEP_IDLE` seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import json as json_module
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import certifi
import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.exceptions import HTTPError, IncompleteRead, NewConnectionError, ProtocolError
from urllib3.util.ssl_ import create_urllib3_context

from imagegen import waits
from imagegen.connections import CURRENT, POOLS
from imagegen.errors import ArtifactExpired, BadArtifact, Temporary

CONNECT_TIMEOUT = 10.0
"""Seconds for each address a host name resolves to; the total deadline comes first where it is nearer."""
KEEP_IDLE = 15.0
"""Seconds a connection may rest and still serve a GET; urllib3 checks that the peer has not closed it."""
MAX_REPLY = 96 * 1024 * 1024
"""Largest API answer in bytes: a 4K picture in base64 with drafts beside it stays below half of it."""
MAX_REDIRECTS = 3
CHUNK = 64 * 1024
_MOVED = {301, 302, 303, 307, 308}
_BROKEN = (requests.RequestException, HTTPError, http.client.HTTPException, OSError, UnicodeError)
_BEFORE = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.SSLError,
    requests.exceptions.ProxyError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
)


class Monotonic(Protocol):
    """The part of `ports.Clock` that deadlines need."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...


class TransportError(Temporary):
    """No usable answer. `billed` is for the caller to judge: only a paid call can have cost anything."""


class NotSentError(TransportError):
    """No byte of the request left this machine for the server."""


class LostAnswer(TransportError):
    """The request left, wholly or in part; `details["truncated"]` where the answer broke off inside its body."""


@dataclass(frozen=True)
class Reply:
    """A whole HTTP answer, whatever its status. `headers` are found in any case of letters."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON; raises `ValueError` where it is none."""
        return json_module.loads(self.body)

    def retry_after(self, now: datetime) -> float | None:
        """Seconds from `now` that the headers ask us to wait, or None; see `imagegen.waits`."""
        return waits.asked_by(self.headers, now)


@dataclass(frozen=True)
class Fetched:
    """A downloaded file and the type its server claims, which proves nothing."""

    data: bytes = field(repr=False)
    content_type: str


class _Adapter(HTTPAdapter):
    """Never repeats; our connections; the certificates are read once instead of for every fresh connection."""

    def __init__(self) -> None:
        self._context = create_urllib3_context()
        self._context.load_verify_locations(
            os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
        )
        super().__init__(pool_connections=32, pool_maxsize=64, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **options)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **options)
        manager.pool_classes_by_scheme = POOLS
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"


@lru_cache(maxsize=64)
def _proxies(scheme: str, host: str) -> dict[str, str]:
    """The environment's proxies for a host, none for this machine's own."""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return {}
    return get_environ_proxies(f"{scheme}://{host}/", no_proxy=None)


def _session() -> requests.Session:
    session = requests.Session()
    # The environment's .netrc would replace our Authorization header; proxies are given per call instead.
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    # A base64 picture hardly shrinks, and unpacking it costs more than carrying it.
    session.headers.update({"User-Agent": "imagegen", "Accept": "*/*", "Accept-Encoding": "identity"})
    adapter = _Adapter()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class Transport:
    """HTTP for every provider. One per process; thread-safe: nothing of the session changes after it is made.

    After a fork the child makes its own session: a connection shared by two processes would mix up their answers.
    """

    def __init__(self, clock: Monotonic | None = None) -> None:
        self._monotonic: Callable[[], float] = clock.monotonic if clock else monotonic
        self._http, self._pid = _session(), os.getpid()

    def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        addresses: Sequence[str] = (),
        total: float,
        max_bytes: int = MAX_REPLY,
    ) -> Reply:
        """One request and its whole answer within `total` seconds, sent once; `data` is a body sent as it is.

        `addresses`: the host is reached there and nowhere else (`imagegen.guard`), while TLS and the Host header keep
        its name, over a connection of its own. A proxy of the environment resolves names itself: it goes first.

        Raises `NotSentError` or `LostAnswer`; any HTTP status is an answer, a redirect too.
        """
        sent = {"headers": dict(headers or {}), "json": json, "params": params, "data": data}
        with self._exchange(method, url, sent, total, addresses) as response:
            body = _read(response, max_bytes)
            return Reply(response.status_code, response.headers, body)

    def fetch(self, url: str, *, max_bytes: int, total: float) -> Fetched:
        """A file by GET, over at most 3 redirects, within `total` seconds.

        Raises `ArtifactExpired` (403, 404, 410), `Temporary` (408, 429, 5xx, connection), `BadArtifact` (anything else:
        truncated, too large, empty, an address that is not http).
        """
        deadline = self._monotonic() + total
        for _ in range(MAX_REDIRECTS + 1):
            _check_address(url)
            with self._exchange("GET", url, {}, deadline - self._monotonic()) as response:
                if response.status_code not in _MOVED:
                    return _file(response, max_bytes)
                url = urljoin(url, response.headers.get("Location", ""))
        raise BadArtifact(f"the picture's address redirects more than {MAX_REDIRECTS} times")

    def close(self) -> None:
        """Closes every kept connection."""
        self._http.close()

    @contextlib.contextmanager
    def _exchange(
        self,
        method: str,
        url: str,
        sent: Mapping[str, Any],
        total: float,
        addresses: Sequence[str] = (),
    ) -> Iterator[requests.Response]:
        place = f"{method} {urlsplit(url).scheme}://{urlsplit(url).netloc.rpartition('@')[2]}"
        proxies = _proxies(urlsplit(url).scheme, urlsplit(url).hostname or "")
        pinned = () if proxies else tuple(addresses)
        idle = KEEP_IDLE if method == "GET" and not pinned else -1.0
        CURRENT.begin(self._monotonic, self._monotonic() + total, idle, pinned)
        if self._pid != os.getpid():
            self._http, self._pid = _session(), os.getpid()
        response: requests.Response | None = None
        try:
            wait = max(0.001, total)
            response = self._http.request(
                method,
                url,
                **sent,
                proxies=proxies,
                timeout=(min(CONNECT_TIMEOUT, wait), wait),
                allow_redirects=False,
                stream=True,
            )
            yield response
        except _BROKEN as error:
            # The original carries the whole address, signature included, so it is not chained.
            raise _classified(error, place) from None
        finally:
            if response is not None:
                response.close()


def _classified(error: Exception, place: str) -> TransportError:
    """Whether the request left. Our connections know; without one (it never came to connecting) the error's kind."""
    reason = _root(error)
    told = f"{place}: {type(reason).__name__}"
    early = isinstance(error, _BEFORE) or isinstance(reason, NewConnectionError)
    if not CURRENT.left and (CURRENT.watched or early):
        return NotSentError(f"{told}: the request did not leave", {"cause": type(reason).__name__})
    details = {"cause": type(reason).__name__, "truncated": isinstance(reason, IncompleteRead)}
    return LostAnswer(f"{told}: no whole answer came", details)


def _root(error: BaseException) -> BaseException:
    """The urllib3 or socket error inside the wrappers of requests and urllib3."""
    for _ in range(6):
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in reversed(error.args) if isinstance(arg, BaseException)), None)
        if inner is None or isinstance(error, NewConnectionError | IncompleteRead):
            break
        error = inner
    return error


def _read(response: requests.Response, max_bytes: int) -> bytes:
    """The body, unpacked, of at most `max_bytes`; the connection enforces the deadline and the Content-Length."""
    parts: list[bytes] = []
    size = 0
    for chunk in response.raw.stream(CHUNK, decode_content=True):
        size += len(chunk)
        if size > max_bytes:
            raise LostAnswer(f"the answer is larger than {max_bytes} bytes", {"oversized": True})
        parts.append(chunk)
    return b"".join(parts)


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadArtifact("the picture's address is neither http nor https", {"retryable": False})


def _file(response: requests.Response, max_bytes: int) -> Fetched:
    status = response.status_code
    if status in {403, 404, 410}:
        raise ArtifactExpired(f"the picture's address answers {status}")
    if status in {408, 429} or status >= 500:
        wait = waits.asked_by(response.headers, None)
        details = {} if wait is None else {"retryAfter": wait}
        raise Temporary(f"the picture's server answers {status}", {**details, "billed": "yes"})
    if status != 200:
        raise BadArtifact(f"the picture's address answers {status}")
    try:
        data = _read(response, max_bytes)
    except ProtocolError as error:
        if isinstance(_root(error), IncompleteRead):
            raise BadArtifact("the picture's file is truncated") from None
        raise
    except LostAnswer:
        raise BadArtifact(f"the picture's file is larger than {max_bytes} bytes", {"retryable": False}) from None
    if not data:
        raise BadArtifact("the picture's file is empty")
    return Fetched(data, response.headers.get("Content-Type", "").partition(";")[0].strip().lower())
