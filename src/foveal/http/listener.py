"""The socket that connections come to. Knows no protocol and imports no server, so that a taken port shows at once."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from foveal.errors import ConfigError

if TYPE_CHECKING:
    from foveal.config import HttpConfig

BACKLOG = 2048  # connections that wait to be accepted


def check_port(config: HttpConfig) -> None:
    """Raises ConfigError where the address cannot be had at this moment.

    It is not kept: until the model's files are there nobody would answer, and who asks should be refused, not left to
    wait.
    """
    listen(config).close()


def listen(config: HttpConfig) -> socket.socket:
    """A socket that connections can come to from now on. Raises ConfigError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {config.port} is taken: stop what uses it, or choose another with --port"
            ) from None
        raise ConfigError(f"cannot listen on {config.host} port {config.port}: {error.strerror}") from None
    return listener
