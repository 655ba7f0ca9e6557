"""Reads an image reference: a URL, or the image itself in base64. Pure functions on text.

Opens, resolves and fetches nothing. A fragment (`#transform=inline`) at the end of either form is ignored, and so is
the MIME type that a client states: the content decides the format.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes, urljoin

import httpx
import msgspec

from foveal.media.refusal import EMPTY, NOT_ALLOWED, Refused, too_large

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_MEDIA_TYPE = re.compile(r"[\w.+-]*(/[\w.+-]*)?(;[\w.+=-]*)*,")  # without "data:", as some clients write it
_MAX_MEDIA_TYPE_LENGTH = 1000
_IS_BASE64 = re.compile(r";\s*base64\s*$", re.IGNORECASE)
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n"
_MAX_PORT = 65535
NOT_A_SOURCE = "neither a URL nor valid base64; send https://... or data:image/png;base64,..."


def read_source(source: str, max_bytes: int) -> httpx.URL | bytes:
    """The image's URL, or its bytes, at most `max_bytes` of them.

    Raises Refused for a scheme other than http, https and data, for an address that cannot be read, and for what is
    not base64. Takes some 5 ms a megabyte, so call it in a thread: even copying an image's text blocks the event loop.
    """
    source = source.partition("#")[0].strip()
    if not source:
        raise Refused(EMPTY)
    scheme = _SCHEME.match(source)
    if scheme is not None and scheme[1].lower() != "data":
        return parse_url(source)
    if scheme is not None:
        return _read_data_url(source, max_bytes)
    media_type = _MEDIA_TYPE.match(source, 0, _MAX_MEDIA_TYPE_LENGTH)
    return decode_base64(source[media_type.end() :] if media_type else source, max_bytes)


def _read_data_url(source: str, max_bytes: int) -> bytes:
    """As https://fetch.spec.whatwg.org/#data-urls has it. Base64 is also read where the URL does not say so."""
    comma = source.find(",", 0, _MAX_MEDIA_TYPE_LENGTH)
    if comma < 0:
        raise Refused(NOT_A_SOURCE)
    media_type, body = source[:comma], source[comma + 1 :]
    if "%" not in body:
        return decode_base64(body, max_bytes)
    if len(body) > 4 * max_bytes:  # too long even with three characters for most bytes
        raise too_large(max_bytes)
    plain = unquote_to_bytes(body)
    if _IS_BASE64.search(media_type):
        return decode_base64(plain.decode("latin-1"), max_bytes)
    if len(plain) > max_bytes:
        raise too_large(max_bytes)
    return plain


def parse_url(text: str, base: str = "") -> httpx.URL:
    """The only parser of URLs: what it returns is both checked and connected to.

    `base` is where `text` was found, if it may be relative. Raises Refused.
    """
    try:
        url = httpx.URL(urljoin(base, text)).copy_with(fragment=None)
        host = url.host  # decodes it: `xn--` alone is no name
    except (httpx.InvalidURL, ValueError):
        raise Refused("the URL cannot be read; check it, or send the image as base64") from None
    if url.scheme not in ("http", "https") or not host or url.userinfo or (url.port or 0) > _MAX_PORT:
        raise Refused(NOT_ALLOWED)
    return url


def decode_base64(text: str, max_bytes: int) -> bytes:
    """Standard or URL-safe alphabet, padded or not, in lines or not; at most `max_bytes` bytes come out.

    The length is checked before anything is decoded. msgspec's decoder is as strict as binascii's and takes a sixth of
    its time, during which nothing else runs in the interpreter.
    """
    if len(text) > 2 * max_bytes:  # too long even with line breaks
        raise too_large(max_bytes)
    try:
        data = text.encode("ascii").translate(_STANDARD_ALPHABET, _WHITESPACE).rstrip(b"=")
        if len(data) * 3 // 4 > max_bytes:
            raise too_large(max_bytes)
        if not data:
            raise Refused(EMPTY)
        data += b"=" * (-len(data) % 4)
        return msgspec.convert(data.decode("ascii"), bytes)
    except (UnicodeEncodeError, msgspec.ValidationError):
        raise Refused(NOT_A_SOURCE) from None
