"""A pinned call over TLS: the address is the judged one, the name in handshake, certificate and Host the caller's."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from imagegen.transport import NotSentError, Transport

NAME = "shop.example"


def certificate(folder: Path) -> Path:
    """Key and self-signed certificate of the name, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
    builder = builder.not_valid_after(now + timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    signed = builder.sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "shop.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *form) + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


class Shop:
    """Answers each request with 204; remembers the names it was asked under."""

    def __init__(self, pem: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        context.sni_callback = lambda sock, name, _: self.names.append(str(name))
        self.names: list[str] = []
        self.heads: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, args=(context,))
        self._thread.start()

    def _serve(self, context: ssl.SSLContext) -> None:
        with suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
                    self.heads.append(_request(connection))
                    connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def _request(connection: ssl.SSLSocket) -> bytes:
    """The head, once the body is read too: closing over unread bytes would reset the answer on its way."""
    with connection.makefile("rb") as lines:
        head = b"".join(takewhile(bytes.strip, lines))
        length = next((line for line in head.splitlines() if line.lower().startswith(b"content-length:")), b":0")
        lines.read(int(length.partition(b":")[2]))
    return head


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    pem = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    shop = Shop(pem)
    yield shop
    shop.close()


def test_the_name_stays_the_callers(shop: Shop) -> None:
    """The handshake names the host, the certificate is checked against it, and Host carries it."""
    transport = Transport()
    url = f"https://{NAME}:{shop.port}/hook"
    assert transport.call("POST", url, data=b"{}", addresses=["127.0.0.1"], total=5).status == 204
    assert shop.names == [NAME]
    assert f"Host: {NAME}:{shop.port}".encode() in shop.heads[0]
    transport.close()


def test_a_certificate_of_another_name_is_refused(shop: Shop) -> None:
    """Who answers at the address without being the host gets nothing."""
    transport = Transport()
    with pytest.raises(NotSentError):
        transport.call("POST", f"https://other.example:{shop.port}/", data=b"x", addresses=["127.0.0.1"], total=5)
    assert shop.heads in ([], [b""])
    transport.close()
