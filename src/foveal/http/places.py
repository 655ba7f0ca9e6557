"""The room for connections: how many there may be, and how many from one address."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from foveal.errors import ConfigError

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Network

    from foveal.config import HttpConfig

SITE_BITS = 64  # of an IPv6 address: one subscriber has all addresses that share them
_TRUSTED = ""  # in place of an address


class Places:
    """Counts connections. Those of trusted proxies have no share, since all clients come through them."""

    def __init__(self, config: HttpConfig) -> None:
        """Raises ConfigError for a proxy that is no address or network."""
        self._max = config.max_connections
        self._share = config.max_connections_per_address
        self._trusted = [_network(proxy) for proxy in config.trusted_proxies]
        self._taken: Counter[str] = Counter()  # by address or site

    def take(self, address: str | None) -> bool:
        """Whether there is room for one more, which is then taken. None: a client without an address."""
        whose = self._whose(address)
        has_share = not self._share or whose == _TRUSTED or self._taken[whose] < self._share
        if not has_share or (self._max and self._taken.total() >= self._max):
            return False
        self._taken[whose] += 1
        return True

    def leave(self, address: str | None) -> None:
        whose = self._whose(address)
        self._taken[whose] -= 1
        if not self._taken[whose]:
            del self._taken[whose]

    def _whose(self, address: str | None) -> str:
        if address is None:
            return _TRUSTED
        found = _parsed(address)
        return _TRUSTED if any(found in network for network in self._trusted) else _site(found)


def _network(proxy: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(proxy)
    except ValueError:
        raise ConfigError(f"http.trusted_proxies holds {proxy!r}, which is no address or network") from None


def _parsed(address: str) -> IPv4Address | IPv6Address:
    """Without a zone; an IPv4 address that a socket of both families writes as IPv6 is IPv4."""
    found = ip_address(address.partition("%")[0])
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _site(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv6Address) and not address.is_loopback:
        return str(IPv6Address(int(address) >> SITE_BITS << SITE_BITS))
    return str(address)
