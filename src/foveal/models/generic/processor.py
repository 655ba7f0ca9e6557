"""Any model of transformers, in the server: its own processor, in processes that may import transformers.

    image 640 x 480     a process that counts     Facts: token ids and spans, shapes, what the size decides
    (only its size) --> the checkpoint's own -->  one unit of encoder work: the image as a whole
                        processor, on black

    its pixels          an image worker           the floating-point arrays of the same processor, as bytes
                    --> the checkpoint's own -->  one after the other
                        processor

Nothing here is computed from settings: what an image takes is what the processor makes of one of its size.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from foveal.models.checkpoint import Settings
from foveal.models.family import Described, InvalidImageSize
from foveal.models.generic.facts import decode, encode
from foveal.models.generic.sizes import Sizes
from foveal.types import Detail, ImageLayout, Placeholder, Size

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

    from foveal.models.checkpoint import Checkpoint
    from foveal.models.generic.facts import Facts

FILES = ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class GenericProcessor:
    """`foveal.models.family.Processor`."""

    folder: Path
    sizes: Sizes

    @property
    def described(self) -> Described:
        """Raises CheckpointError where its processor cannot be made."""
        hello = self.sizes.hello
        config = json.loads(hello.config, object_hook=Settings).placed(f"{self.folder}, completed by transformers")
        return Described(config, hello.mark, hello.image_tokens)

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name in FILES:
            if (self.folder / name).is_file():
                digest.update((self.folder / name).read_bytes())
        return f"generic transformers={self.sizes.hello.version} {digest.hexdigest()}"

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        """`detail` changes nothing: processors of transformers know no such thing."""
        return layout_of(size, self.sizes.facts(size))

    def get_ready(self) -> None:
        """Import and make now what `prepare` needs."""
        assert self._pictures

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        facts: Facts
        pixels: NDArray[np.uint8]
        facts, pixels = self._pictures.prepare(picture)
        if encode(facts) != layout.facts:
            raise InvalidImageSize("this model's processor makes more of it than of others of its size")
        return pixels

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        facts = decode(layout.facts)
        return Placeholder(facts.token_ids, facts.spans)

    @cached_property
    def _pictures(self) -> Any:
        from foveal.models.generic.pictures import Pictures

        return Pictures.load(self.folder)


def layout_of(size: Size, facts: Facts) -> ImageLayout:
    num_tokens = sum(span.length for span in facts.spans)
    return ImageLayout(size, (facts.num_bytes,), (), 1, num_tokens, facts=encode(facts))


def load(checkpoint: Checkpoint) -> GenericProcessor:
    return GenericProcessor(checkpoint.folder, Sizes(checkpoint.folder))
