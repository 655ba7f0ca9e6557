"""What every process that serves sets first: no core dumps, many connections, a log."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from foveal.serving import logs

if TYPE_CHECKING:
    from foveal.config import LogConfig


def prepare_process(log: LogConfig) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would write clients' images to disk
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a file
    logs.configure(log)
