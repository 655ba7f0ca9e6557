"""PDFs written by hand, whose pages are known: each is white with one rectangle in a colour of its own."""

from __future__ import annotations

COLOURS = {"red": "1 0 0", "green": "0 1 0", "blue": "0 0 1"}
LOCK = (  # a revision of the standard handler that no empty password opens
    b"<< /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <" + b"00" * 32 + b"> /U <" + b"11" * 32 + b"> >> "
    b"/ID [<00><00>] "
)


def pdf(*colours: str, size: tuple[float, float] = (72, 144), rotate: int = 0, locked: bool = False) -> bytes:
    """A page of `size` points for each colour; the rectangle fills its lower half before it is rotated."""
    width, height = size
    kids = " ".join(f"{3 + 2 * i} 0 R" for i in range(len(colours)))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Count {len(colours)} /Kids [{kids}] >>"]
    for i, colour in enumerate(colours):
        drawing = f"{COLOURS[colour]} rg 0 0 {width} {height / 2} re f"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Rotate {rotate} "
            f"/Contents {4 + 2 * i} 0 R >>",
            f"<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream",
        ]
    return _written([entry.encode() for entry in objects], locked=locked)


def _written(objects: list[bytes], *, locked: bool) -> bytes:
    data, places = b"%PDF-1.7\n", []
    for number, entry in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, entry)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = LOCK if locked else b"<< "
    trailer = b"trailer\n%s/Root 1 0 R /Size %d >>\n" % (head, len(objects) + 1)
    start = len(data)
    return data + b"xref\n0 %d\n0000000000 65535 f \n%s%sstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1, table, trailer, start,
    )  # fmt: skip
