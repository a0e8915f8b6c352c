"""The guard on addresses that callers name: what they must not make us reach, refused before a packet leaves.

A host is resolved once and its address pinned: the connection goes to the very address that was judged, whatever the
name service says the next time. The same for pictures that we fetch and for webhooks that we send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import SOCK_STREAM, gaierror, getaddrinfo
from urllib.parse import SplitResult, urlsplit

from imagegen.errors import InvalidRequest

Lookup = Callable[[str], Iterable[str]]

CLOUD_METADATA = frozenset({IPv4Address("168.63.129.16")})
"""Public by number, yet the cloud's own inside its machines (learn.microsoft.com, "What is IP address
168.63.129.16"); the other clouds' metadata addresses are link-local or private."""

_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")
_UNICAST = ip_network("2000::/3")
"""All of IPv6 that is given out for the internet (iana.org, "Internet Protocol Version 6 Address Space")."""


def system_lookup(host: str) -> list[str]:
    """The host's addresses, as the system resolves them. Raises `OSError`."""
    return [str(found[4][0]) for found in getaddrinfo(host, None, type=SOCK_STREAM)]


def checked_address(
    url: str, field: str, allow_hosts: Sequence[str], lookup: Lookup = system_lookup
) -> tuple[str, ...]:
    """The addresses that a connection for `url` may be made to; none where its host is exempt by name.

    Refuses what a caller must not make us reach: plain http, credentials, private and local addresses. `allow_hosts`
    are exempt: host names, addresses or networks. Raises `InvalidRequest`, retryable where the host's addresses could
    not be found just now.
    """
    parts, host = _split(url, field)
    if host in allow_hosts:
        return ()
    addresses = _addresses(host, field, lookup)
    if all(_allowed(address, allow_hosts) for address in addresses):
        return addresses
    if parts.scheme != "https":
        raise InvalidRequest.of(field, "is not https", "Send an https URL, or add its host to IMAGEGEN_ALLOW_HOSTS.")
    for address in addresses:
        if not _allowed(address, allow_hosts) and not is_public(address):
            raise InvalidRequest.of(
                field, f"{host} is not a public address", "Send a public URL, or add its host to IMAGEGEN_ALLOW_HOSTS."
            )
    return addresses


def is_public(address: str) -> bool:
    """Whether the whole internet may be meant by it: neither it nor an IPv4 address inside it is anything special."""
    found = ip_address(address)
    inner = _inner(found) if isinstance(found, IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    if isinstance(found, IPv6Address) and found not in _UNICAST:
        return False
    return found.is_global and not found.is_multicast and found not in CLOUD_METADATA


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that is really meant: mapped, compatible, NAT64, 6to4 or Teredo."""
    if address in _NAT64 or address in _COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _split(url: str, field: str) -> tuple[SplitResult, str]:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise InvalidRequest.of(field, "is no URL with a host", "Send https://host/path.")
    if parts.username is not None:
        raise InvalidRequest.of(field, "carries a user name", "Send a URL without credentials.")
    return parts, host


def _addresses(host: str, field: str, lookup: Lookup) -> tuple[str, ...]:
    try:
        return (str(ip_address(host)),)
    except ValueError:
        pass
    try:
        found = tuple(dict.fromkeys(address.partition("%")[0] for address in lookup(host)))
    except (gaierror, OSError, UnicodeError) as error:
        raise _unknown(field, f"{host} is not known to the name service") from error
    if not found:
        raise _unknown(field, f"{host} has no address")
    return found


def _unknown(field: str, reason: str) -> InvalidRequest:
    error = InvalidRequest.of(field, reason, "Correct the host.")
    error.details["retryable"] = True
    return error


def _allowed(address: str, allow_hosts: Sequence[str]) -> bool:
    for entry in allow_hosts:
        try:
            if ip_address(address) in ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
