"""The transport against sockets that misbehave: deadlines, broken answers, reused connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from imagegen.errors import BadArtifact, Temporary
from imagegen.transport import LostAnswer, NotSentError, Transport
from tests.forks import in_a_fork

Handler = Callable[[socket.socket, int], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class RawServer:
    """A listening socket whose every connection is handled by a function; counts connections and requests."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.requests = 0
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with closing(connection), suppress(OSError):
            while self.read(connection):
                self._handler(connection, number)

    def read(self, connection: socket.socket) -> bool:
        """Reads one request whole; False at the end."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += connection.recv(65536)
        self.requests += 1
        return True

    def close(self) -> None:
        """Ends every connection and thread."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], RawServer]]:
    """Starts raw servers, closed after the test."""
    servers: list[RawServer] = []

    def start(handler: Handler) -> RawServer:
        servers.append(RawServer(handler))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def transport() -> Iterator[Transport]:
    """A transport whose connections are closed after the test."""
    transport = Transport()
    yield transport
    transport.close()


def _drip(start: bytes) -> Handler:
    def handle(connection: socket.socket, _: int) -> None:
        connection.sendall(start)
        for _ in range(400):
            connection.sendall(b"x")
            time.sleep(0.02)

    return handle


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
        b"",
    ],
    ids=["headers", "body", "chunk", "status"],
)
def test_a_drip_ends_at_the_total_deadline(
    serve: Callable[[Handler], RawServer], transport: Transport, start: bytes
) -> None:
    """A server that sends a byte now and then, anywhere in its answer, holds us no longer than the total."""
    server = serve(_drip(start))
    began = time.monotonic()
    with pytest.raises(LostAnswer):
        transport.call("POST", server.url, json={"a": 1}, total=1.0)
    assert 0.8 < time.monotonic() - began < 6.0


def test_a_silent_server_ends_at_the_total_deadline(
    serve: Callable[[Handler], RawServer], transport: Transport
) -> None:
    """No answer at all is a lost answer: the request was read."""
    release = threading.Event()
    server = serve(lambda *_: (release.wait(5), None)[1])
    with pytest.raises(LostAnswer):
        transport.call("POST", server.url, json={}, total=1.0)
    release.set()
    assert server.requests == 1


def test_a_large_request_to_a_server_that_does_not_read_ends(transport: Transport) -> None:
    """Sending is bounded by the total as well."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(LostAnswer):
            transport.call("POST", url, data=b"x" * 30_000_000, total=1.0)
        assert time.monotonic() - began < 10.0


def test_a_closed_port_is_not_sent(transport: Transport) -> None:
    """Connection refused: no byte left."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotSentError):
        transport.call("POST", f"http://127.0.0.1:{port}/", json={}, total=2)


def test_a_failed_tls_handshake_is_not_sent(serve: Callable[[Handler], RawServer], transport: Transport) -> None:
    """A server that does not speak TLS never saw the request."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with closing(connection):
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(NotSentError):
            transport.call("POST", f"https://127.0.0.1:{listener.getsockname()[1]}/", json={}, total=3)
        thread.join(5)


def test_a_tls_handshake_cut_off_is_not_sent(transport: Transport) -> None:
    """A connection reset inside the handshake comes before the request."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def cut() -> None:
            connection, _ = listener.accept()
            connection.close()

        thread = threading.Thread(target=cut)
        thread.start()
        with pytest.raises(NotSentError):
            transport.call("POST", f"https://127.0.0.1:{listener.getsockname()[1]}/", json={}, total=3)
        thread.join(5)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", b"rubbish\r\n\r\n"],
    ids=["nothing", "truncated", "rubbish"],
)
def test_a_broken_answer_is_lost(serve: Callable[[Handler], RawServer], transport: Transport, answer: bytes) -> None:
    """The request was read and the answer is unusable: nobody knows what became of it."""

    def handle(connection: socket.socket, _: int) -> None:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_RDWR)

    server = serve(handle)
    with pytest.raises(LostAnswer):
        transport.call("POST", server.url, json={}, total=3)
    assert server.requests == 1


def test_gets_reuse_a_connection_and_posts_never_do(
    serve: Callable[[Handler], RawServer], transport: Transport
) -> None:
    """Polls share one connection; each POST has a fresh one, for a kept one may be dead without our knowing."""
    server = serve(lambda connection, _: connection.sendall(OK))
    for _ in range(5):
        transport.call("GET", server.url, total=3)
    assert server.connections == 1
    for _ in range(3):
        transport.call("POST", server.url, json={}, total=3)
    assert (server.connections, server.requests) == (4, 8)


def test_a_connection_closed_while_resting_costs_no_get(
    serve: Callable[[Handler], RawServer], transport: Transport
) -> None:
    """A server that closes after each answer is simply connected to again."""

    def handle(connection: socket.socket, _: int) -> None:
        connection.sendall(OK)
        connection.shutdown(socket.SHUT_RDWR)

    server = serve(handle)
    for _ in range(5):
        deadline = time.monotonic() + 2
        assert transport.call("GET", server.url, total=3).status == 200
        # The end of the connection must have arrived, as it has after a rest.
        while time.monotonic() < deadline and any(one.fileno() >= 0 for one in server._open):
            time.sleep(0.005)
    assert server.requests == 5


def test_many_threads_share_one_transport(serve: Callable[[Handler], RawServer], transport: Transport) -> None:
    """Answers never cross between threads."""

    def handle(connection: socket.socket, number: int) -> None:
        body = str(number).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    server = serve(handle)
    failures: list[str] = []

    def work() -> None:
        for _ in range(20):
            reply = transport.call("GET", server.url, total=5)
            if reply.status != 200 or not reply.body.isdigit():
                failures.append(repr(reply))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert server.requests == 160
    assert server.connections <= 8


def test_a_forked_child_has_connections_of_its_own(serve: Callable[[Handler], RawServer], transport: Transport) -> None:
    """A worker forked after a call shares no connection with its parent."""
    server = serve(lambda connection, _: connection.sendall(OK))
    transport.call("GET", server.url, total=3)
    assert in_a_fork(lambda: str(transport.call("GET", server.url, total=3).status)) == "200"
    transport.call("GET", server.url, total=3)
    assert (server.connections, server.requests) == (2, 3)


def test_a_truncated_file_is_a_bad_artifact(serve: Callable[[Handler], RawServer], transport: Transport) -> None:
    """Fewer bytes than announced: the file is asked for again, never used."""

    def handle(connection: socket.socket, _: int) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 4000)
        connection.shutdown(socket.SHUT_RDWR)

    with pytest.raises(BadArtifact, match="truncated"):
        transport.fetch(serve(handle).url, max_bytes=10_000, total=3)


def test_a_dripping_file_is_temporary(serve: Callable[[Handler], RawServer], transport: Transport) -> None:
    """A file that does not come in time may come another time."""
    server = serve(_drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"))
    with pytest.raises(Temporary):
        transport.fetch(server.url, max_bytes=1_000_000, total=1.0)
