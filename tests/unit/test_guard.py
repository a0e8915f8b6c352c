"""The guard on callers' addresses: special ones are refused in every spelling; what was judged is what is reached."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from imagegen.errors import InvalidRequest
from imagegen.guard import checked_address, is_public

PUBLIC4, PUBLIC6 = "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"
SPECIAL = [
    "127.0.0.1", "127.255.0.9", "0.0.0.0", "10.0.0.7", "172.16.0.1", "192.168.1.1", "100.100.100.200",
    "169.254.169.254", "168.63.129.16", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255",
    "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe",
    "fec0::1", "4000::1", "64:ff9b:1::a00:1",
    "2002:0a00:0001::", "2002:7f00:0001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
]  # fmt: skip


def never(host: str) -> list[str]:
    raise AssertionError(f"looked up {host}")


def refusal(url: str, allowed: Sequence[str] = (), **found: list[str]) -> str:
    with pytest.raises(InvalidRequest) as raised:
        checked_address(url, "callbackUrl", allowed, lambda host: found["found"])
    (problem,) = raised.value.problems
    assert problem["field"] == "callbackUrl"
    assert problem["remedy"]
    return problem["reason"]


@pytest.mark.parametrize("address", SPECIAL)
def test_special_addresses_are_refused(address: str) -> None:
    """Private, local, link-local, multicast, metadata: as the URL's own host, and behind a name."""
    assert not is_public(address)
    host = f"[{address}]" if ":" in address else address
    assert refusal(f"https://{host}/hook").endswith("is not a public address")
    assert refusal("https://shop.example/", found=[PUBLIC4, address]) == "shop.example is not a public address"


@pytest.mark.parametrize("address", [PUBLIC4, PUBLIC6, "64:ff9b::93.184.216.34", f"::ffff:{PUBLIC4}"])
def test_public_addresses_pass(address: str) -> None:
    """And are what the connection is made to."""
    assert is_public(address)
    assert checked_address("https://shop.example/", "f", (), lambda host: [address]) == (address,)


def test_one_lookup_gives_the_addresses_to_use() -> None:
    """A name that answers differently the second time is not asked a second time."""
    answers = [[PUBLIC4, PUBLIC6, PUBLIC4], ["127.0.0.1"]]
    assert checked_address("https://shop.example/", "f", (), lambda host: answers.pop(0)) == (PUBLIC4, PUBLIC6)
    assert answers == [["127.0.0.1"]]


def test_numbers_are_not_looked_up() -> None:
    """An address is its own answer."""
    assert checked_address(f"https://{PUBLIC4}:8443/x", "f", (), never) == (PUBLIC4,)
    assert checked_address(f"https://[{PUBLIC6}]/x", "f", (), never) == (PUBLIC6,)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001"])
def test_odd_spellings_are_judged_by_what_they_lead_to(host: str) -> None:
    """What the system makes of a strange number is what counts."""
    assert refusal(f"https://{host}/", found=["127.0.0.1"]) == f"{host} is not a public address"


def test_plain_http_is_for_exempt_hosts_alone() -> None:
    """http is refused on public addresses; a host that is exempt by name, address or network may use it."""
    assert refusal("http://shop.example/", found=[PUBLIC4]) == "is not https"
    assert checked_address("http://shop.internal/", "f", ["shop.internal"], never) == ()
    assert checked_address("http://10.1.2.3/", "f", ["10.0.0.0/8"], never) == ("10.1.2.3",)
    assert checked_address("http://shop.internal/", "f", ["10.1.2.3"], lambda host: ["10.1.2.3"]) == ("10.1.2.3",)
    assert refusal("http://shop.internal/", ["10.0.0.0/8"], found=["10.1.2.3", "192.168.0.1"]) == "is not https"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://", "is no URL with a host"),
        ("ftp://shop.example/", "is no URL with a host"),
        ("https://shop.example:port/", "is no URL with a host"),
        ("https://me:secret@shop.example/", "carries a user name"),
    ],
)
def test_malformed_urls_are_refused(url: str, reason: str) -> None:
    """Field, reason and remedy."""
    assert refusal(url) == reason


def test_an_unknown_name_may_be_known_later() -> None:
    """A name service that does not know the host is no last word: retryable. A private address is one."""

    def unknown(host: str) -> list[str]:
        raise OSError("no such host")

    def nowhere(host: str) -> list[str]:
        return []

    for lookup in (unknown, nowhere):
        with pytest.raises(InvalidRequest) as raised:
            checked_address("https://shop.example/", "f", (), lookup)
        assert raised.value.retryable
    with pytest.raises(InvalidRequest) as raised:
        checked_address("https://10.0.0.1/", "f", (), never)
    assert not raised.value.retryable
