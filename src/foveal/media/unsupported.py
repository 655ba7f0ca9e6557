"""What bytes are that no decoder here reads, in a sentence that says what to do. Looks at the first bytes only."""

from __future__ import annotations

import struct

NOT_A_PICTURE = "not a picture in a supported format (PNG, JPEG, GIF, BMP, TIFF, PPM, WebP)"
_SAVE = "which is not read here; save it as PNG, JPEG or WebP"
_HEAD_BYTES = 1024
_SIGNATURES = (  # (offset, bytes, sentence)
    (0, b"%PDF-", "a PDF, which is no picture; send it as a file, or each page as a picture (PNG or JPEG)"),
    (4, b"ftypavi", f"an AVIF picture, {_SAVE}"),
    (4, b"ftypheic", f"a HEIC picture, as phones take them, {_SAVE}"),
    (4, b"ftypheix", f"a HEIC picture, as phones take them, {_SAVE}"),
    (4, b"ftyphev", f"a HEIC picture, as phones take them, {_SAVE}"),
    (4, b"ftypmif1", f"a HEIF picture, as phones take them, {_SAVE}"),
    (4, b"ftypmsf1", f"a HEIF picture, as phones take them, {_SAVE}"),
    (4, b"ftyp", "a video, which is not read here; send single frames as pictures (PNG or JPEG)"),
    (0, b"\xff\x0a", f"a JPEG XL picture, {_SAVE}"),
    (0, b"\0\0\0\x0cJXL ", f"a JPEG XL picture, {_SAVE}"),
    (0, b"\0\0\0\x0cjP  ", f"a JPEG 2000 picture, {_SAVE}"),
    (0, b"\xff\x4f\xff\x51", f"a JPEG 2000 picture, {_SAVE}"),
    (0, b"8BPS", f"a Photoshop file, {_SAVE}"),
    (0, b"\0\0\1\0", f"an icon, {_SAVE}"),
    (0, b"v/1\1", f"an OpenEXR picture, {_SAVE}"),
)
_TEXTS = (  # how a text begins, in lower case, and the sentence
    (b"<svg", f"an SVG drawing, {_SAVE}"),
    (b"<!doctype svg", f"an SVG drawing, {_SAVE}"),
    (b"<!doctype html", "a web page and no picture; check that the URL opens without signing in"),
    (b"<html", "a web page and no picture; check that the URL opens without signing in"),
)
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_JPEG_LS_FRAME = 0xF7


def name(encoded: bytes) -> str:
    """The sentence for `encoded`, which no decoder took."""
    head = encoded[:_HEAD_BYTES]
    for offset, signature, sentence in _SIGNATURES:
        if head.startswith(signature, offset):
            return sentence
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<?xml"):
        text = text[text.find(b"<", 1) :]
    for start, sentence in _TEXTS:
        if text.startswith(start):
            return sentence
    return _jpeg(encoded) if head.startswith(b"\xff\xd8\xff") else NOT_A_PICTURE


def _jpeg(encoded: bytes) -> str:
    """What is unusual about a JPEG that cannot be read: its frame header tells."""
    offset = 2
    while offset + 10 <= len(encoded) and encoded[offset] == 0xFF:
        marker, length, bits = struct.unpack_from(">xBHB", encoded, offset)
        if marker == _JPEG_LS_FRAME:
            return f"a JPEG-LS picture, {_SAVE}"
        if marker in _JPEG_FRAMES and bits != 8:
            return f"a JPEG of {bits} bits in a sample, which is not read here; save it with 8 bits"
        offset += 2 + length
    return NOT_A_PICTURE
