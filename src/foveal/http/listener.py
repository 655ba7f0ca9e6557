"""The listening socket, and what may listen where.

Knows no protocol and imports no server, so that a taken port and a missing key are reported at once.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from foveal.errors import ConfigError

if TYPE_CHECKING:
    from foveal.accounting.accounting import Accounting
    from foveal.config import HttpConfig

BACKLOG = 2048  # connections that wait to be accepted
MAX_UNREAD_BYTES = 128 * 1024  # that the kernel keeps for a client that does not read; twice that with its own records


def check_port(config: HttpConfig) -> None:
    """Raises ConfigError where the address cannot be bound now.

    The address is released again: until the checkpoint is downloaded, nothing would answer a connection.
    """
    with socket.socket(_family(config)) as probe:
        _bind(probe, config)


def check_keys(config: HttpConfig, accounting: Accounting) -> None:
    """Raises ConfigError where other machines could reach a server that needs no key."""
    if not accounting.requires_key and not is_loopback(config.host):
        raise ConfigError(
            f"http.host is {config.host}, which others can reach, and there is no API key: "
            "make one (foveal keys create NAME) or configure one (http.api_keys), or listen on 127.0.0.1"
        )


def listen(config: HttpConfig) -> socket.socket:
    """A socket that listens from now on. Raises ConfigError where the address cannot be bound."""
    listener = socket.socket(_family(config))
    try:
        _bind(listener, config, BACKLOG)
    except ConfigError:
        listener.close()
        raise
    return listener


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine.

    A foreign web page can point a name of its own at 127.0.0.1 (DNS rebinding). The browser then sends that name as
    Host, so a loopback Host also shows that no such page asks.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _bind(unbound: socket.socket, config: HttpConfig, backlog: int | None = None) -> None:
    """Raises ConfigError."""
    try:
        unbound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        unbound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_UNREAD_BYTES)  # of every connection
        unbound.bind((config.host, config.port))
        if backlog is not None:
            unbound.listen(backlog)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {config.port} is taken: stop what uses it, or choose another with --port"
            ) from None
        raise ConfigError(f"cannot listen on {config.host} port {config.port}: {error.strerror}") from None


def _family(config: HttpConfig) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in config.host else socket.AF_INET
