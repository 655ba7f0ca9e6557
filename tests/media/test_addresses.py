"""The table of addresses, and what an operator may open."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from foveal.errors import ConfigError
from foveal.media.addresses import Guard, Opening, is_allowed

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "93.184.216.34", "100.63.255.255", "100.128.0.0",
    "168.63.129.15", "172.15.255.255", "172.32.0.0", "192.0.1.1", "192.167.255.255", "198.17.255.255",
    "223.255.255.255",
    "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450:4001::1",
    "::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
    "2001:0:808:808:0:0:f7f7:f7f7",  # Teredo: server 8.8.8.8, client 8.8.8.8
]  # fmt: skip
REFUSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255",
    "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1",
    "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
    "100::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2620:4f:8000::1", "3fff::1", "4000::1",
    "5f00::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "64:ff9b:1::808:808",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:c0a8:101::1",
    "2001:0:808:808:0:0:80ff:fffe",  # Teredo of the client 127.0.0.1
    "2001:0:7f00:1:0:0:f7f7:f7f7",  # Teredo by the server 127.0.0.1
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(ip_address(address))


@pytest.mark.parametrize("address", REFUSED)
def test_every_other_address_is_refused(address: str) -> None:
    assert not is_allowed(ip_address(address))


@pytest.mark.parametrize(
    ("entry", "host", "port", "address", "opens"),
    [
        ("images.internal", "images.internal", 80, "10.0.0.1", True),
        ("Images.Internal.", "IMAGES.internal", 80, "10.0.0.1", True),
        ("images.internal", "images.internal", 8080, "10.0.0.1", True),
        ("images.internal", "other.internal", 80, "10.0.0.1", False),
        ("images.internal:8080", "images.internal", 8080, "10.0.0.1", True),
        ("images.internal:8080", "images.internal", 80, "10.0.0.1", False),
        ("10.1.0.0/16", "any.internal", 9000, "10.1.2.3", True),
        ("10.1.0.0/16", "any.internal", 80, "10.2.0.1", False),
        ("127.0.0.1", "localhost", 9000, "127.0.0.1", True),
        ("127.0.0.1:9000", "127.0.0.1", 9000, "127.0.0.1", True),
        ("127.0.0.1:9000", "127.0.0.1", 9001, "127.0.0.1", False),
        ("::1", "localhost", 80, "::1", True),
        ("[::1]:9000", "localhost", 9000, "::1", True),
        ("[::1]:9000", "localhost", 80, "::1", False),
        ("fd00::/8", "any.internal", 80, "fd12::1", True),
    ],
)
def test_openings(entry: str, host: str, port: int, address: str, opens: bool) -> None:
    guard = Guard(allowed_ports=(80, 443), openings=(Opening.parse(entry),))

    assert guard.permits(host, port, address) is opens


@pytest.mark.parametrize("entry", ["", "http://images.internal", "10.0.0.0/99", "host:", "host:port", "a b", "[::1"])
def test_an_opening_that_cannot_be_read(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"images\.allowed_hosts: .* is none of host, host:port and CIDR"):
        Opening.parse(entry)


@pytest.mark.parametrize(("port", "permitted"), [(80, True), (443, True), (22, False), (8080, False), (0, False)])
def test_public_addresses_are_open_on_the_allowed_ports_alone(port: int, permitted: bool) -> None:
    guard = Guard(allowed_ports=(80, 443), openings=())

    assert guard.permits("example.com", port, "93.184.216.34") is permitted
