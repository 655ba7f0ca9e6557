"""The room for connections: how many there may be, and how many from one address."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from foveal.errors import ConfigError

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from foveal.config import HttpConfig

SITE_BITS = 64  # of an IPv6 address: one subscriber has all addresses that share them


class Places:
    """Counts connections. Those of trusted proxies have no share, since all clients come through them."""

    def __init__(self, config: HttpConfig) -> None:
        """Raises ConfigError for a proxy that is no address or network."""
        self._max = config.max_connections
        self._share = config.max_connections_per_address
        self._trusted = [_network(proxy) for proxy in config.trusted_proxies]
        self._taken: Counter[str] = Counter()  # by address

    def take(self, address: str | None) -> bool:
        """Whether there is room for one more, which is then taken. None: a client without an address."""
        whose = _site(address)
        has_share = not self._share or self._is_trusted(whose) or self._taken[whose] < self._share
        if not has_share or (self._max and self._taken.total() >= self._max):
            return False
        self._taken[whose] += 1
        return True

    def leave(self, address: str | None) -> None:
        whose = _site(address)
        self._taken[whose] -= 1
        if not self._taken[whose]:
            del self._taken[whose]

    def _is_trusted(self, whose: str) -> bool:
        return not whose or any(ip_address(whose) in network for network in self._trusted)


def _network(proxy: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(proxy)
    except ValueError:
        raise ConfigError(f"http.trusted_proxies holds {proxy!r}, which is no address or network") from None


def _site(address: str | None) -> str:
    if address is None:
        return ""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        return str(found.ipv4_mapped)
    if isinstance(found, IPv6Address) and not found.is_loopback:
        return str(IPv6Address(int(found) >> SITE_BITS << SITE_BITS))
    return str(found)
