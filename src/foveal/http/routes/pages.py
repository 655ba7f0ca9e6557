"""Pages for people: the playground at /, the API's reference at /docs and, for operators, /status.

They are made of the package's own files. The reference is drawn by Swagger UI, whose files a package brings that is
never imported (docs/decisions/101-swagger-ui-from-a-wheel.md).

A page loads nothing from other hosts and runs no script that is not a file of its own. The files are open: they say
nothing about the models or their users. With keys, a page asks its reader for one.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import Response

from foveal.errors import NotFound
from foveal.http.endpoint import Endpoint

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.endpoint import Context

FOLDER = Path(str(files("foveal"))) / "pages"
SWAGGER_UI_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")
MEDIA_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "png": "image/png",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-cache",  # asked again each time, and answered with 304
}


def page(path: str, folder: str) -> tuple[Endpoint, Endpoint]:
    """The page of a folder, which is its index.html, and the folder's files."""

    async def get_page(request: Request, context: Context) -> ASGIApp:
        return _file(request, folder, "index.html")

    return Endpoint(path, get_page, access="open"), _files_of(folder)


def _files_of(folder: str) -> Endpoint:
    async def get_file(request: Request, context: Context) -> ASGIApp:
        return _file(request, folder, request.path_params["name"])

    return Endpoint(f"/pages/{folder}/{{name}}", get_file, access="open", is_routine=True)


PLAYGROUND = page("/", "playground")
REFERENCE = page("/docs", "reference")
STATUS = page("/status", "status")
SHARED = _files_of("shared")


def _file(request: Request, folder: str, name: str) -> Response:
    """Raises NotFound."""
    found = _contents(folder).get(name)
    if found is None:
        raise NotFound("The page has no such file.")
    content, tag = found
    headers = HEADERS | {"etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=MEDIA_TYPES[name.rpartition(".")[2]])


def _swagger_ui() -> Path:
    """The folder of its files. The package that brings them would import a web framework; its place is enough."""
    spec = find_spec("flask_swagger_ui")
    assert spec is not None, "a dependency is missing"
    assert spec.origin is not None
    return Path(spec.origin).with_name("dist")


@cache
def _contents(folder: str) -> dict[str, tuple[bytes, str]]:
    """A folder's files and their tags, by name."""
    found = [file for file in (FOLDER / folder).iterdir() if file.is_file()]
    if folder == "reference":
        found += [_swagger_ui() / name for name in SWAGGER_UI_FILES]
    contents = {file.name: file.read_bytes() for file in found}
    return {name: (content, f'"{sha256(content).hexdigest()[:20]}"') for name, content in contents.items()}
