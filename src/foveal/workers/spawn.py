"""Starts a child process and decides what it inherits.

A child inherits one end of a socket pair, the given descriptors, and an environment without the server's secrets. It
does not import from the folder that the server was started in, and Ctrl-C in a terminal does not reach it. What it
writes to stderr goes into the server's log.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from foveal.workers.process import ChildProcess
from foveal.workers.stderr import relay

# Names and patterns of environment variables. Only variables listed here are inherited.
INHERITED_BY_ALL = (  # what Python needs to start and to decode file names
    "PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONHOME", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE",
    "PYTHONPYCACHEPREFIX", "PYTHONFAULTHANDLER", "PYTHONOPTIMIZE",
)  # fmt: skip
INHERITED_BY_TORCH = (  # threads, memory, devices and caches. Not NVIDIA_*, because NVIDIA_API_KEY is a secret
    "OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "DNNL_*", "ONEDNN_*", "ATEN_*", "TORCH_*", "PYTORCH_*",
    "TORCHINDUCTOR_*", "TRITON_*", "CUDA_*", "CUBLAS_*", "CUDNN_*", "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_TF32_OVERRIDE", "MALLOC_*", "GLIBC_TUNABLES", "LD_PRELOAD", "HOME", "TMPDIR",
    "XDG_CACHE_HOME",
)  # fmt: skip
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # numpy would start one for each core


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of child."""

    run: str  # "module:function": called in the child with its socket
    environment: Mapping[str, str]  # inherited variables take precedence
    inherits: tuple[str, ...] = ()  # in addition to INHERITED_BY_ALL


def spawn(kind: Kind, settings: bytes, fds: Sequence[int] = ()) -> ChildProcess:
    """Start a child; `settings` is the first frame that it reads, `fds` are open in it under the same numbers.

    The child is killed when the calling thread ends, so that thread must outlive it. Raises OSError.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(settings)  # fits into the socket's buffer
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "foveal.workers.child", kind.run, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=(theirs.fileno(), *fds),
            env=environment(kind, os.environ),
            start_new_session=True,
        )
    name = kind.run.partition(":")[0]
    threading.Thread(target=relay, args=(process.stderr, name), name=f"stderr of {name}", daemon=True).start()
    return ChildProcess(process, ours)


def environment(kind: Kind, ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child of that kind, where the server's is `ours`."""
    patterns = INHERITED_BY_ALL + kind.inherits
    inherited = {name: value for name, value in ours.items() if any(fnmatchcase(name, p) for p in patterns)}
    # "" in sys.path is the folder that the server was started in
    return {**kind.environment, **inherited, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
