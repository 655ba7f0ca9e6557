"""Folders made of checkpoints in other layouts: settings as JSON files, and links to the weights.

So everything else reads such a model as it reads any other. Folders are kept in the user's cache, by what they were
made of; they are small, but for a large vocabulary slow to make. Those that were used longest ago are deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

UNFINISHED, DELETED = "unfinished-", "deleted-"  # how folders are called meanwhile
LONGEST_MAKE_S = 3600.0  # who takes longer was killed
MOST_FOLDERS = 64  # of a kind; a large vocabulary's takes 35 MB


def made_folder(kind: str, version: str, links: Mapping[str, Path], files: Callable[[], Mapping[str, object]]) -> Path:
    """The folder with these links and files. kind: of the layout; version: another number makes other folders.

    files: called only where there is no such folder yet. Contents are written as JSON.
    """
    folder = _cache(kind) / _key(version, links)
    if not (folder / "config.json").is_file():
        _make(folder, links, files())
        _prune(folder.parent)
    os.utime(folder)
    return folder


def _cache(kind: str) -> Path:
    """Where folders are kept: the user's cache, or where nothing can be written to it a folder for temporary files."""
    caches, home = os.environ.get("XDG_CACHE_HOME", ""), os.environ.get("HOME", "")
    base = Path(caches) if caches.startswith("/") else Path(home) / ".cache" if home.startswith("/") else None
    if base is not None:
        folder = base / "foveal" / kind
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            pass
        else:
            if os.access(folder, os.W_OK):
                return folder
    return Path(tempfile.mkdtemp(prefix=f"foveal-{kind}-"))


def _key(version: str, links: Mapping[str, Path]) -> str:
    facts = [version]
    for name, path in links.items():
        status = path.stat()
        facts += [name, str(path.resolve()), str(status.st_size), str(status.st_mtime_ns)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]


def _make(folder: Path, links: Mapping[str, Path], files: Mapping[str, object]) -> None:
    """All at once: nobody reads half a folder."""
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder.parent) as unfinished:
        made = Path(unfinished) / "folder"
        made.mkdir()
        for name, path in links.items():
            if name not in files:
                (made / name).symlink_to(path.resolve())
        for name, content in files.items():
            (made / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        try:
            made.rename(folder)
        except OSError:  # another process was faster
            if not (folder / "config.json").is_file():
                raise


def _prune(cache: Path) -> None:
    """Delete what was used longest ago, beyond the most that are kept, and what was never finished."""
    made = sorted((path for path in cache.iterdir() if "-" not in path.name), key=_used_s, reverse=True)
    for path in made[MOST_FOLDERS:]:
        with contextlib.suppress(OSError):  # another process was faster
            path.rename(cache / f"{DELETED}{path.name}")  # at once: nobody reads half a folder
    old = [path for path in cache.glob(f"{UNFINISHED}*") if _used_s(path) < time.time() - LONGEST_MAKE_S]
    for path in [*old, *cache.glob(f"{DELETED}*")]:
        shutil.rmtree(path, ignore_errors=True)


def _used_s(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # it has just been deleted
        return time.time()
