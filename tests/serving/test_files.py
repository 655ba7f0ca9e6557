"""What was read of files stands in their places, and images are counted again."""

from __future__ import annotations

from foveal.serving.files import with_files
from foveal.types import ChatRequest, File, ImageRef, Message


def test_images_are_numbered_again_around_the_pages_of_files() -> None:
    file, pages = ImageRef("f", 2, file=File()), [ImageRef(b"1", 1), ImageRef(b"2", 1)]
    asked = ChatRequest((Message("user", ("a", ImageRef("x", 1), file)), Message("user", (file, ImageRef("y", 4)))))
    assert [ref.position for ref in asked.file_refs] == [1, 2]
    assert with_files(asked, [pages, ["text"]]).messages == (
        Message("user", ("a", ImageRef("x", 1), ImageRef(b"1", 2), ImageRef(b"2", 3))),
        Message("user", ("text", ImageRef("y", 4))),
    )
