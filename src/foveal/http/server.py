"""Serves the application with uvicorn, over connections that are bounded in every phase."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from foveal.http.connection import BoundedHttp
from foveal.http.listener import check_keys
from foveal.http.places import Places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from foveal.accounting.accounting import Accounting
    from foveal.config import HttpConfig

KEEP_ALIVE_S = 75
GRACEFUL_SHUTDOWN_S = 5  # for what is still being sent when the answers have ended; then it is cut off


def create_server(app: ASGIApp, config: HttpConfig, accounting: Accounting) -> Server:
    """The server, not yet listening. Raises ConfigError as `check_keys` and `Places` do."""
    check_keys(config, accounting)
    return Server(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            http=cast("Any", partial(BoundedHttp, Places(config))),  # uvicorn calls it for each connection
            ws="none",
            lifespan="off",
            log_config=None,  # the command that starts the process configures logging
            access_log=False,  # request_log.py writes the line
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
        )
    )


class Server(uvicorn.Server):
    """uvicorn's server without its signal handling, which would stop listening at once.

    While running answers are finished, new requests get a 503 instead of a refused connection.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
