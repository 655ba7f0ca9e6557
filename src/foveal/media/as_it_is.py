"""The processor of pictures that go on as pictures: neither cut nor resized. For models that other servers run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.types import ImageLayout, Placeholder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

    from foveal.types import Detail, Size


class AsItIs:
    """A `Processor` whose pixels are the picture's, in red, green and blue."""

    fingerprint = "as it is"

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        return ImageLayout(size, (size.height, size.width, 3), grid=(), num_crops=1, num_tokens=0)

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        import numpy as np

        return np.asarray(picture)

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        """The other server makes the prompt."""
        return Placeholder((), ())


def processor(_: str) -> AsItIs:
    """For the image workers. There is no checkpoint."""
    return AsItIs()
