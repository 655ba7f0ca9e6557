"""Why an image cannot be used, in a sentence for the client. Knows nothing of requests or an image's place in one.

The sentences are fixed: a decoder's message, a path or an address never becomes part of one. The loader puts the
image's position before the sentence and makes an `errors.ImageError` of it.
"""

from __future__ import annotations


class Refused(Exception):
    """`str(error)` is the sentence, e.g. "this address is not allowed"."""


NOT_ALLOWED = "this address is not allowed"
DAMAGED = "the picture is damaged or incomplete; save it again as PNG or JPEG and send that"
EMPTY = "the image is empty; send the picture's bytes as base64, or a URL that returns them"


def too_large(max_bytes: int) -> Refused:
    return Refused(f"larger than {max_bytes:,} bytes, the limit for each image; scale it down or compress it more")
