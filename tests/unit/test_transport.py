"""What the transport makes of answers and failures, told by mocked answers alone."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import requests
import responses
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError, ReadTimeoutError

from imagegen.errors import ArtifactExpired, BadArtifact, Temporary
from imagegen.transport import LostAnswer, NotSentError, Reply, Transport

URL = "https://api.example/v1/thing?signature=s3cret"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def transport() -> Transport:
    """A transport without connections."""
    return Transport()


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    """Mocked answers; each must be used."""
    with responses.RequestsMock() as mock:
        yield mock


def test_any_status_is_an_answer(http: responses.RequestsMock, transport: Transport) -> None:
    """A 503 is a reply with its status, headers and JSON, for the provider's file to judge."""
    http.post(URL, json={"a": 1}, status=503, headers={"X-Kind": "busy"})
    reply = transport.call("POST", URL, headers={"Authorization": "Bearer k"}, json={"p": 1}, total=5)
    assert (reply.status, reply.headers["x-kind"], reply.json()) == (503, "busy", {"a": 1})
    assert http.calls[0].request.headers["Authorization"] == "Bearer k"


def test_no_redirect_of_a_call_is_followed(http: responses.RequestsMock, transport: Transport) -> None:
    """A redirected POST is an answer, not a second POST."""
    http.post(URL, status=307, headers={"Location": "https://other.example/"})
    assert transport.call("POST", URL, json={}, total=5).status == 307


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectTimeout(),
        requests.exceptions.SSLError("certificate"),
        requests.exceptions.ConnectionError(MaxRetryError(None, "/", NewConnectionError(None, "refused"))),  # type: ignore[arg-type]
        requests.exceptions.InvalidHeader("Authorization"),
    ],
    ids=["connect timeout", "tls", "refused", "header"],
)
def test_what_fails_before_sending_is_not_sent(
    http: responses.RequestsMock, transport: Transport, error: Exception
) -> None:
    """Refused, no connection in time, no TLS: nothing was bought, and the caller is told so."""
    http.post(URL, body=error)
    with pytest.raises(NotSentError):
        transport.call("POST", URL, json={}, total=5)


def test_an_unknown_host_is_not_sent(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve: no byte left."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(NotSentError, match="NameResolutionError"):
        transport.call("POST", "http://nowhere.example/", json={}, total=5)


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ReadTimeout(ReadTimeoutError(None, "/", "late")),  # type: ignore[arg-type]
        requests.exceptions.ConnectionError(ProtocolError("aborted", ConnectionResetError(104, "reset"))),
        requests.exceptions.ConnectionError("no reason given"),
        requests.exceptions.ChunkedEncodingError("broken"),
    ],
    ids=["read timeout", "reset", "unclear", "chunks"],
)
def test_whatever_is_not_certain_is_a_lost_answer(
    http: responses.RequestsMock, transport: Transport, error: Exception
) -> None:
    """Only a proof makes a call "not sent"; everything else may have reached the server."""
    http.post(URL, body=error)
    with pytest.raises(LostAnswer):
        transport.call("POST", URL, json={}, total=5)


def test_an_oversized_answer_is_lost(http: responses.RequestsMock, transport: Transport) -> None:
    """An answer beyond the bound is not held in memory."""
    http.get(URL, body=b"x" * 2000)
    with pytest.raises(LostAnswer, match="larger than 1000"):
        transport.call("GET", URL, total=5, max_bytes=1000)


def test_nothing_secret_is_told(
    http: responses.RequestsMock, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither messages, causes, logs nor representations carry the query, the key or a body."""
    caplog.set_level(logging.DEBUG)
    http.post(URL, body=requests.exceptions.ConnectionError(MaxRetryError(None, URL, None)))  # type: ignore[arg-type]
    http.post(URL, body=b"s3cret body")
    with pytest.raises(LostAnswer) as caught:
        transport.call("POST", URL, headers={"Authorization": "s3cret"}, json={"prompt": "s3cret"}, total=5)
    reply = transport.call("POST", URL, total=5)
    assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__!r} {reply!r} {caplog.text}"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("Sat, 21 Nov 2026 12:01:30 GMT", 90.0), ("soon", None), ("", None), ("-3", 0.0)],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    """Both forms of the header are read; nonsense is no wait."""
    assert Reply(429, {"Retry-After": text}, b"").retry_after(NOW) == seconds


def test_a_file_is_fetched_with_its_type(http: responses.RequestsMock, transport: Transport) -> None:
    """Bytes come back whole, the type without its parameters, over a redirect too."""
    http.get(URL, status=302, headers={"Location": "/file.png"})
    http.get("https://api.example/file.png", body=b"\x89PNG", content_type="Image/PNG; charset=x")
    fetched = transport.fetch(URL, max_bytes=100, total=5)
    assert (fetched.data, fetched.content_type) == (b"\x89PNG", "image/png")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, ArtifactExpired),
        (404, ArtifactExpired),
        (410, ArtifactExpired),
        (408, Temporary),
        (429, Temporary),
        (500, Temporary),
        (503, Temporary),
        (400, BadArtifact),
        (204, BadArtifact),
    ],
)
def test_a_file_that_does_not_come_says_why(
    http: responses.RequestsMock, transport: Transport, status: int, kind: type[Exception]
) -> None:
    """Expired, passing and hopeless are told apart by the status."""
    http.get(URL, status=status)
    with pytest.raises(kind) as caught:
        transport.fetch(URL, max_bytes=100, total=5)
    assert type(caught.value) is kind


def test_a_busy_file_server_is_obeyed(http: responses.RequestsMock, transport: Transport) -> None:
    """`Retry-After` of a file's server reaches the error."""
    http.get(URL, status=429, headers={"Retry-After": "9"})
    with pytest.raises(Temporary) as caught:
        transport.fetch(URL, max_bytes=100, total=5)
    assert caught.value.retry_after == 9.0


def test_a_file_is_bounded_and_not_empty(http: responses.RequestsMock, transport: Transport) -> None:
    """Too large and empty are bad artifacts, told as such."""
    http.get(URL, body=b"x" * 101)
    http.get(URL, body=b"")
    with pytest.raises(BadArtifact, match="larger than 100"):
        transport.fetch(URL, max_bytes=100, total=5)
    with pytest.raises(BadArtifact, match="empty"):
        transport.fetch(URL, max_bytes=100, total=5)


def test_redirects_end(http: responses.RequestsMock, transport: Transport) -> None:
    """A circle of redirects is left after three."""
    http.get(URL, status=302, headers={"Location": URL})
    with pytest.raises(BadArtifact, match="more than 3"):
        transport.fetch(URL, max_bytes=100, total=5)
    assert len(http.calls) == 4


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/x", "gopher://x", "https:///nohost", ""])
def test_only_http_is_fetched(transport: Transport, target: str) -> None:
    """No other scheme is opened, whatever a provider answers."""
    with pytest.raises(BadArtifact):
        transport.fetch(target, max_bytes=100, total=5)


def test_a_redirect_to_another_scheme_is_refused(http: responses.RequestsMock, transport: Transport) -> None:
    """A redirect may not lead away from http."""
    http.get(URL, status=302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(BadArtifact, match="neither http nor https"):
        transport.fetch(URL, max_bytes=100, total=5)


def test_cookies_are_not_kept(http: responses.RequestsMock, transport: Transport) -> None:
    """What one answer sets, no later call sends: calls share nothing but connections."""
    http.get(URL, headers={"Set-Cookie": "a=1"})
    transport.call("GET", URL, total=5)
    transport.call("GET", URL, total=5)
    assert "Cookie" not in http.calls[1].request.headers
