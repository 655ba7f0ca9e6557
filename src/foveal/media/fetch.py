"""Downloads one URL, treating every URL as hostile. Knows nothing of images, caches or requests.

The check is made where connections are made, so that no download can bypass it. A name is resolved once, every address
it has is checked, and the connection goes to a checked address. The HTTP Host and the TLS name stay those of the URL.
httpcore is used without httpx's client: it has no proxies, cookies, credentials or redirects to switch off.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import httpcore
import httpx

from foveal import __version__
from foveal.config import ImageConfig
from foveal.media.addresses import Guard, Opening
from foveal.media.refusal import EMPTY, NOT_ALLOWED, Refused, too_large
from foveal.media.resolve import Resolver
from foveal.media.source import parse_url
from foveal.shares import Shares

USER_AGENT = f"foveal/{__version__} (+https://pypi.org/project/foveal)"
DEFAULT_FRESH_S = 60.0  # for responses without caching headers
_HEADERS: dict[bytes | str, bytes | str] = {
    "User-Agent": USER_AGENT,
    "Accept": "image/png, image/jpeg, image/webp, image/gif, image/bmp, image/tiff, image/*;q=0.5, */*;q=0.1",
    "Accept-Encoding": "identity",
}
_PLAIN = {"", "identity", "utf-8", "utf8", "aws-chunked", "binary", "none"}  # said of bytes that are as they were
_GZIP = {"gzip", "x-gzip"}
_GZIP_MAGIC = b"\x1f\x8b"
_REDIRECTS = (301, 302, 303, 307, 308)
_LOOKUP_SHARE = 0.8  # of the time that is left; later than that, no download would be in time
_FIRST_TRIES_S = 0.4  # for each address of a name but the last, so that a dead one leaves time for the next
_MAX_CONNECTIONS = 128
_MAX_WAITING = 512  # of one caller, as many as may wait for a worker
_UNREACHABLE = "the server did not answer as expected; check that the URL opens elsewhere, or send the image as base64"

Headers = Sequence[tuple[bytes, bytes]]
Resolve = Callable[[str], Awaitable[Sequence[str]]]  # host -> addresses


@dataclass(frozen=True, slots=True)
class Download:
    body: bytes
    fresh_s: float  # how long it may be kept; 0: not at all


@dataclass(frozen=True, slots=True)
class Redirect:
    location: str
    fresh_s: float


class Fetcher:
    """Downloads within the limits of `config`. `resolve` and `ssl_context` are for tests and special networks."""

    def __init__(
        self, config: ImageConfig, resolve: Resolve | None = None, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._config = config
        self._resolver = Resolver()
        self._shares = Shares(_MAX_CONNECTIONS, keeps_room=True, max_waiting=_MAX_WAITING)
        guard = Guard(config.allowed_ports, tuple(map(Opening.parse, config.allowed_hosts)))
        self._connections = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or httpcore.default_ssl_context(),
            max_connections=_MAX_CONNECTIONS,
            max_keepalive_connections=16,
            keepalive_expiry=5.0,
            network_backend=CheckedNetwork(guard, resolve or self._resolver),
        )

    async def fetch(self, url: httpx.URL, caller: str = "") -> Download:
        """Raises Refused; TooManyRequests where too many downloads of `caller` wait for their turn.

        `fetch_timeout_s` covers everything after that, from resolving the name to the last byte.
        """
        async with self._shares.hold(caller):
            return await self._fetch(url)

    async def _fetch(self, url: httpx.URL) -> Download:
        limit_s = self._config.fetch_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._follow(url, asyncio.get_running_loop().time() + limit_s)
        except (TimeoutError, httpcore.TimeoutException):
            raise Refused(
                f"the download took longer than {limit_s:g} s; use a faster host or send the image as base64"
            ) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
            raise Refused(_UNREACHABLE) from None

    async def close(self) -> None:
        await self._connections.aclose()
        await self._resolver.close()

    async def _follow(self, url: httpx.URL, ends_s: float) -> Download:
        fresh_s = float("inf")
        for _ in range(self._config.max_redirects + 1):
            answer = await self._get(url, ends_s - asyncio.get_running_loop().time())
            fresh_s = min(fresh_s, answer.fresh_s)
            if isinstance(answer, Download):
                return Download(answer.body, fresh_s)
            url = parse_url(answer.location, base=str(url))
        raise Refused(f"more than {self._config.max_redirects} redirects; use the address that they lead to")

    async def _get(self, url: httpx.URL, limit_s: float) -> Download | Redirect:
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        limits = {"timeout": {"connect": limit_s * _LOOKUP_SHARE}}
        async with self._connections.stream("GET", target, headers=_HEADERS, extensions=limits) as response:
            fresh_s = freshness_s(response.headers)
            if response.status in _REDIRECTS:
                return Redirect(_location(response), fresh_s)
            if response.status != 200:
                raise Refused(
                    f"the server answered with status {response.status}; check that the URL opens without signing in"
                )
            return Download(await self._read(response), fresh_s)

    async def _read(self, response: httpcore.Response) -> bytes:
        """The body, counted as it arrives, since a server may send more than it states."""
        codings = {coding.strip() for coding in _header(response.headers, b"content-encoding").lower().split(",")}
        if codings - _PLAIN - _GZIP:
            raise Refused("the server compresses the file; use a URL that returns the plain file")
        max_bytes = self._config.max_image_bytes
        stated = _header(response.headers, b"content-length")
        body = bytearray()
        if stated.isdecimal() and float(stated) > max_bytes:
            raise too_large(max_bytes)
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > max_bytes:
                raise too_large(max_bytes)
        if codings & _GZIP and body.startswith(_GZIP_MAGIC):  # some say so of what they have not compressed
            body = _unpacked(body, max_bytes)
        if not body:
            raise Refused(EMPTY)
        return bytes(body)


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """httpcore's network backend that connects only to what `guard` permits."""

    def __init__(self, guard: Guard, resolve: Resolve) -> None:
        self._guard = guard
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """`timeout`: of the lookup. Raises Refused where any address of the name is not permitted.

        Unknown names, and those that nobody answers for, get the same words: others would tell which are internal.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(host)
        except OSError:  # a TimeoutError is one
            raise Refused(NOT_ALLOWED) from None
        if not addresses or not all(self._guard.permits(host, port, address) for address in addresses):
            raise Refused(NOT_ALLOWED)
        for address in addresses[:-1]:
            with contextlib.suppress(httpcore.NetworkError, httpcore.TimeoutException):
                return await self._network.connect_tcp(address, port, _FIRST_TRIES_S)
        return await self._network.connect_tcp(addresses[-1], port)  # the download's limit ends it


def _location(response: httpcore.Response) -> str:
    location = _header(response.headers, b"location")
    if not location:
        raise Refused(f"the server answered with status {response.status} and no address to go on to; check the URL")
    return location


def _unpacked(body: bytearray, max_bytes: int) -> bytearray:
    """What gzip made `body` of. Never more than `max_bytes` are unpacked."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, max_bytes + 1)
    except zlib.error:
        raise Refused(_UNREACHABLE) from None
    if len(plain) > max_bytes:
        raise too_large(max_bytes)
    if not unpacker.eof:
        raise Refused(_UNREACHABLE)
    return bytearray(plain)


def freshness_s(headers: Headers) -> float:
    """How long a shared cache may keep the response, in seconds (RFC 9111)."""
    directives = {}
    for part in _header(headers, b"cache-control").lower().split(","):
        name, _, value = part.strip().partition("=")
        directives[name] = value.strip('"')
    if directives.keys() & {"no-store", "no-cache", "private"}:
        return 0.0
    max_age = directives.get("s-maxage", directives.get("max-age", ""))
    age = _header(headers, b"age")
    if not max_age.isdecimal():
        return DEFAULT_FRESH_S
    return max(0.0, float(max_age) - (float(age) if age.isdecimal() else 0.0))


def _header(headers: Headers, name: bytes) -> str:
    """All values of a header, joined as HTTP says; empty where it is missing."""
    return ", ".join(value.decode("utf-8", "replace").strip() for key, value in headers if key.lower() == name)
