"""Untrusted bytes to RGB: every format, every mode, every orientation, and what is refused."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from foveal.media.decode import FORMATS, decode, measure
from foveal.media.refusal import DAMAGED, Refused
from foveal.media.unsupported import NOT_A_PICTURE
from tests.media.builders import encode, plain, png

MAX_PIXELS = 100_000
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)


def corner(encoded: bytes) -> tuple[int, ...]:
    picture = decode(encoded, MAX_PIXELS)
    assert picture.mode == "RGB"
    pixel = picture.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel


def halves(size: tuple[int, int] = (8, 6)) -> Image.Image:
    """Red above, white below."""
    picture = plain("white", size)
    picture.paste(RED, (0, 0, size[0], size[1] // 2))
    return picture


@pytest.mark.parametrize("format", FORMATS)
def test_formats(format: str) -> None:
    encoded = encode(halves(), format)

    assert measure(encoded, MAX_PIXELS) == (8, 6)
    assert corner(encoded) == pytest.approx(RED, abs=10)


@pytest.mark.parametrize(
    ("mode", "colour", "format", "expected"),
    [
        ("1", 1, "PNG", WHITE),
        ("1", 0, "TIFF", BLACK),
        ("L", 100, "PNG", (100,) * 3),
        ("P", 0, "GIF", BLACK),
        ("CMYK", (0, 255, 255, 0), "JPEG", RED),  # Adobe's inverted CMYK
        ("CMYK", (0, 255, 255, 0), "TIFF", RED),
        ("YCbCr", (255, 128, 128), "JPEG", WHITE),
        ("I;16", 0x8040, "PNG", (128,) * 3),
        ("I;16", 0x8040, "TIFF", (128,) * 3),
        ("I;16", 65535, "TIFF", WHITE),
        ("I", 0x8040, "PPM", (128,) * 3),
        ("I", 0x40000000, "TIFF", (128,) * 3),  # over 16 bits: all 31
        ("F", 0.5, "TIFF", (128,) * 3),
        ("F", 127.6, "TIFF", (128,) * 3),
        ("F", 1e30, "TIFF", WHITE),
        ("F", float("nan"), "TIFF", BLACK),
        ("LA", (100, 255), "PNG", (100,) * 3),
        ("LA", (0, 0), "PNG", WHITE),
        ("RGBA", (255, 0, 0, 255), "PNG", RED),
        ("RGBA", (0, 0, 0, 0), "PNG", WHITE),
        ("RGBA", (0, 0, 0, 128), "PNG", (127,) * 3),
        ("RGBA", (0, 0, 0, 0), "WEBP", WHITE),
        ("RGBA", (0, 0, 0, 0), "TIFF", WHITE),
    ],
)
def test_modes(mode: str, colour: float | tuple[int, ...], format: str, expected: tuple[int, ...]) -> None:
    encoded = encode(Image.new(mode, (8, 6), colour), format, **_LOSSLESS.get(format, {}))

    assert corner(encoded) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize(
    ("picture", "transparency"),
    [
        (plain(0, mode="P"), 0),
        (plain(0, mode="L"), 0),
        (plain(BLACK), BLACK),
        (plain(0, mode="1"), 0),
        (plain(0, mode="P"), b"\x00" * 256),
    ],
)
def test_a_colour_that_stands_for_transparent_is_shown_on_white(
    picture: Image.Image, transparency: int | bytes | tuple[int, ...]
) -> None:
    assert corner(encode(picture, transparency=transparency)) == WHITE


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_upright_as_people_see_it(orientation: int, format: str) -> None:
    upright = halves((32, 16))
    turned = upright.transpose(_TURNED[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(turned, format, exif=exif, **_LOSSLESS.get(format, {}))

    decoded = decode(encoded, MAX_PIXELS)

    assert measure(encoded, MAX_PIXELS) == decoded.size == (32, 16)
    np.testing.assert_allclose(np.asarray(decoded, dtype=int), np.asarray(upright, dtype=int), atol=60)


def test_other_metadata_changes_nothing() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    plainly = encode(halves(), "JPEG")

    for options in ({"exif": exif}, {"comment": b"a comment"}, {"exif": b"Exif\0\0broken"}):
        described = encode(halves(), "JPEG", **options)
        assert decode(described, MAX_PIXELS).tobytes() == decode(plainly, MAX_PIXELS).tobytes()


def test_an_orientation_behind_the_pixels_does_not_count() -> None:
    head, tail = png()[:-12], png()[-12:]
    exif = Image.Exif()
    exif[0x0112] = 6
    late = head + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + tail

    assert measure(late, MAX_PIXELS) == decode(late, MAX_PIXELS).size == (8, 6)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_several(format: str) -> None:
    frames = [plain(colour) for colour in ("red", "lime", "blue")]
    encoded = encode(frames[0], format, save_all=True, append_images=frames[1:], **_LOSSLESS.get(format, {}))

    assert corner(encoded) == RED


@pytest.mark.parametrize(
    "encoded",
    [
        b"\x00",
        b"not a picture at all",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"GIF89a",
        b"GIF89a\x08\x00\x06\x00\x00\x00\x00;",  # a screen and no frame
        encode(plain(), "TGA"),
    ],
)
def test_what_is_no_picture_in_a_supported_format(encoded: bytes) -> None:
    for read in (measure, decode):
        with pytest.raises(Refused, match=r"^not a picture in a supported format \(PNG, JPEG, GIF, BMP, TIFF, PPM, W"):
            read(encoded, MAX_PIXELS)


@pytest.mark.parametrize("format", FORMATS)
def test_half_a_picture(format: str) -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    encoded = encode(noise, format)

    with pytest.raises(Refused, match=r"^(the picture is damaged or incomplete|not a picture)"):
        decode(encoded[: len(encoded) // 2], MAX_PIXELS)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format", FORMATS)
def test_damage_of_any_kind_is_refused_or_shown_and_says_nothing_of_the_decoder(format: str) -> None:
    encoded = encode(halves((40, 30)), format)
    chance = np.random.default_rng(3)
    sentences = set()
    for _ in range(200):
        damaged = bytearray(encoded)
        for place in chance.integers(0, len(damaged), 4):
            damaged[place] = chance.integers(0, 256)
        try:
            decode(bytes(damaged), MAX_PIXELS)
        except Refused as refused:
            sentences.add(str(refused))

    known = (DAMAGED, NOT_A_PICTURE, "more than 100,000 pixels, the limit", "a TIFF ", "a JPEG of ", "a JPEG-LS ")
    assert all(sentence.startswith(known) for sentence in sentences)


@pytest.mark.parametrize(("size", "fits"), [((400, 250), True), ((401, 250), False), ((60_000, 60_000), False)])
def test_pixels_are_counted_before_they_are_decoded(size: tuple[int, int], fits: bool) -> None:
    header = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b"")

    if fits:
        assert measure(header, MAX_PIXELS) == size
    else:
        for read in (measure, decode):
            with pytest.raises(Refused, match=r"^more than 100,000 pixels, the limit for each image; scale it down$"):
                read(header, MAX_PIXELS)


def test_text_that_grows_when_it_is_unpacked_is_not_unpacked() -> None:
    bomb = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    encoded = png()[:33] + chunk(b"zTXt", bomb) + png()[33:]

    assert corner(encoded) == RED


@pytest.mark.parametrize("kind", [b"tEXt", b"gAMA", b"iCCP", b"eXIf", b"tRNS"])
@pytest.mark.parametrize("place", [33, -12])  # before the pixels and behind them
def test_a_wrong_checksum_where_it_does_not_show(kind: bytes, place: int) -> None:
    broken = bytearray(chunk(kind, b"0123456789"))
    broken[-1] ^= 0xFF

    assert corner(png()[:place] + broken + png()[place:]) == RED


def test_a_wrong_checksum_where_it_shows() -> None:
    broken = bytearray(png())
    broken[29] ^= 1  # that of the size

    with pytest.raises(Refused):
        decode(bytes(broken), MAX_PIXELS)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("low", "expected"), [(0x34, 255), (0x35, 0x12)])  # alike in 8 bits
def test_a_transparent_colour_of_16_bits(mode: str, low: int, expected: int) -> None:
    samples = {"L": 1, "RGB": 3}[mode]
    header = struct.pack(">IIBBBBB", 1, 1, 16, {"L": 0, "RGB": 2}[mode], 0, 0, 0)
    encoded = png()[:8] + b"".join(
        (
            chunk(b"IHDR", header),
            chunk(b"tRNS", struct.pack(">H", 0x1234) * samples),
            chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">BB", 0x12, low) * samples)),
            chunk(b"IEND", b""),
        )
    )

    assert corner(encoded) == pytest.approx((expected,) * 3, abs=1)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_is_shown_if_all_pixels_are_there(progressive: bool) -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    whole = encode(noise, "JPEG", progressive=progressive)

    assert decode(whole[:-2], MAX_PIXELS).tobytes() == decode(whole, MAX_PIXELS).tobytes()
    for num_lost in (12, 40, 200):
        with pytest.raises(Refused, match=DAMAGED):
            decode(whole[:-num_lost], MAX_PIXELS)


def test_what_a_first_frame_of_a_gif_leaves_free_is_white() -> None:
    gif = bytearray(encode(plain("red", (4, 3)), "GIF"))
    gif[6:10] = struct.pack("<HH", 8, 6)  # a larger canvas
    frame = gif.index(b",", 13)
    gif[frame + 1 : frame + 5] = struct.pack("<HH", 2, 1)
    picture = decode(bytes(gif), MAX_PIXELS)

    assert picture.size == measure(bytes(gif), MAX_PIXELS) == (8, 6)
    assert [picture.getpixel(at) for at in ((1, 1), (2, 1), (5, 3), (6, 3), (5, 4))] == [WHITE, RED, RED, WHITE, WHITE]


def bmp(masks: tuple[int, ...], pixels: list[int], num_bits: int = 32, height: int = 1) -> bytes:
    """One row; masks for red, green, blue and alpha."""
    kind = {16: "H", 32: "I"}[num_bits]
    row = struct.pack(f"<{len(pixels)}{kind}", *pixels)
    row += bytes(-len(row) % 4)
    head = struct.pack("<IiiHHIIiiII", 108, len(pixels), height, 1, num_bits, 3, len(row), 0, 0, 0, 0)
    head += struct.pack("<IIII", *masks) + bytes(108 - len(head) - 16)
    return b"BM" + struct.pack("<IHHI", 122 + len(row), 0, 0, 122) + head + row


@pytest.mark.parametrize("height", [1, -1])
def test_a_bmp_of_ten_bits_a_channel(height: int) -> None:
    masks = (0x3FF00000, 0x000FFC00, 0x000003FF, 0)
    encoded = bmp(masks, [0x3FF << 20, 512 << 10, 1], height=height)

    assert measure(encoded, MAX_PIXELS) == (3, 1)
    assert np.asarray(decode(encoded, MAX_PIXELS)).tolist() == [[[255, 0, 0], [0, 128, 0], [0, 0, 0]]]


def test_a_bmp_of_four_bits_a_channel() -> None:
    encoded = bmp((0xF00, 0x0F0, 0x00F, 0), [0xF00, 0x080, 0x00F], num_bits=16)

    assert np.asarray(decode(encoded, MAX_PIXELS)).tolist() == [[[255, 0, 0], [0, 136, 0], [0, 0, 255]]]


@pytest.mark.parametrize(("alphas", "expected"), [((0, 0), [RED, RED]), ((0, 255), [WHITE, RED])])
def test_a_bmp_whose_alpha_was_never_written_is_opaque(
    alphas: tuple[int, int], expected: list[tuple[int, ...]]
) -> None:
    masks = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
    encoded = bmp(masks, [alpha << 24 | 0xFF0000 for alpha in alphas])

    assert [decode(encoded, MAX_PIXELS).getpixel((x, 0)) for x in range(2)] == expected


@pytest.mark.parametrize(
    ("encoded", "sentence"),
    [
        (b"%PDF-1.7\n1 0 obj\n", "a PDF, which is no picture; send it as a file"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "an AVIF picture, which is not read here; save it as PNG"),
        (b"\0\0\0\x20ftypheic\0\0\0\0", "a HEIC picture, as phones take them, which is not read here; save"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0", "a HEIF picture, as phones take them"),
        (b"\0\0\0\x20ftypisom\0\0\0\0", "a video, which is not read here; send single frames"),
        (b"\xff\x0a\xfa\x00", "a JPEG XL picture"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<?xml version='1.0'?>\n<svg/>", "an SVG drawing"),
        (b"\xef\xbb\xbf\n<!DOCTYPE HTML><title>", "a web page and no picture; check that the URL opens without"),
        (encode(plain(), "ICO"), "an icon"),
        (encode(plain(), "PDF"), "a PDF"),
        (b"\xff\xd8\xff\xc1\x00\x0b\x0c\0\1\0\1\1\1\x11\0", "a JPEG of 12 bits in a sample, which is not read"),
        (b"\xff\xd8\xff\xe0\0\4ab\xff\xf7\0\x0b\x08\0\1\0\1\1\1\x11\0", "a JPEG-LS picture"),
    ],
)
def test_what_is_not_read_is_named_with_what_to_do(encoded: bytes, sentence: str) -> None:
    for read in (measure, decode):
        with pytest.raises(Refused) as refused:
            read(encoded, MAX_PIXELS)
        assert str(refused.value).startswith(sentence)


def test_a_gif_frame_larger_than_its_screen() -> None:
    gif = bytearray(encode(plain(), "GIF"))
    frame = gif.index(b",", 13)
    gif[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)

    with pytest.raises(Refused):
        decode(bytes(gif), MAX_PIXELS)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


_LOSSLESS: dict[str, dict[str, object]] = {"WEBP": {"lossless": True}}
_TURNED = {  # how the camera stores it, for each orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
