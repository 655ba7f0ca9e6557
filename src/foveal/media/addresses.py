"""Which network addresses an image may come from. Pure functions on addresses; resolves and connects to nothing.

`ipaddress.is_global` is not used: it calls several ways into a private network global (NAT64, 6to4, v4-compatible
addresses, multicast, fec0::/10, a cloud's metadata service), and which ones depends on the Python version.
Source: the IANA special-purpose address registries, RFC 6890 and its updates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from foveal.errors import ConfigError

Address = IPv4Address | IPv6Address

_REFUSED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata service at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's metadata service, at a public address
        "169.254.0.0/16",  # link-local, metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata service at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112: answered by the nearest server
        "192.52.193.0/24",  # multicast tunnels (AMT)
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")  # all that is routed; the rest is local, multicast or unassigned
_REFUSED_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments
        "2001:db8::/32",  # documentation
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
# IPv6 networks whose addresses contain an IPv4 address, and how many bits follow it.
_EMBEDDED_V4 = (
    (IPv6Network("::/96"), 0),  # v4-compatible
    (IPv6Network("::ffff:0:0/96"), 0),  # v4-mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # v4-translated
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
)
_TEREDO = IPv6Network("2001::/32")

_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:]+)\]|(?P<host>[\w.-]+))(?::(?P<port>\d{1,5}))?")


def is_allowed(address: Address) -> bool:
    """Whether the address is public, so that nothing of a private network can be behind it.

    The local-use NAT64 prefix 64:ff9b:1::/48 is refused whole, because each network chooses where in it the IPv4
    address is (RFC 8215).
    """
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if inner := embedded_v4(address):
        return all(is_allowed(v4) for v4 in inner)
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


def embedded_v4(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that packets to `address` may end at."""
    bits = int(address)
    if address in _TEREDO:  # the server, and the client with its bits inverted (RFC 4380)
        return IPv4Address(bits >> 64 & 0xFFFFFFFF), IPv4Address(~bits & 0xFFFFFFFF)
    return tuple(IPv4Address(bits >> shift & 0xFFFFFFFF) for network, shift in _EMBEDDED_V4 if address in network)


@dataclass(frozen=True, slots=True)
class Opening:
    """One entry of `ImageConfig.allowed_hosts`: a host name or a network, on one port or on all."""

    host: str | IPv4Network | IPv6Network
    port: int | None

    @classmethod
    def parse(cls, entry: str) -> Opening:
        """Reads `host`, `host:port`, an address, `address:port`, `[v6]:port` or a CIDR. Raises ConfigError."""
        if (network := _network(entry)) is not None:
            return cls(network, None)
        parts = _HOST_AND_PORT.fullmatch(entry)
        if parts is None:
            raise ConfigError(f"images.allowed_hosts: {entry!r} is none of host, host:port and CIDR")
        host = parts["v6"] or parts["host"]
        port = int(parts["port"]) if parts["port"] else None
        return cls(_network(host) or host.lower().rstrip("."), port)

    def opens(self, host: str, port: int, address: Address) -> bool:
        if self.port not in (None, port):
            return False
        if isinstance(self.host, str):
            return self.host == host.lower().rstrip(".")
        return address in self.host


@dataclass(frozen=True, slots=True)
class Guard:
    """Decides on one connection: public addresses on the allowed ports, and what the operator opened."""

    allowed_ports: tuple[int, ...]
    openings: tuple[Opening, ...]

    def permits(self, host: str, port: int, address: str) -> bool:
        """`host` is the name that was asked for, `address` one of those it resolved to."""
        resolved = ip_address(address)
        if any(opening.opens(host, port, resolved) for opening in self.openings):
            return True
        return port in self.allowed_ports and is_allowed(resolved)


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
