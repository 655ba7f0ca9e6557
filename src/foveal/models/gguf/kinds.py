"""Of which kind each setting of a GGUF file is that is read, so that the rest may count on it.

What becomes a setting of config.json is checked once more by its own, narrower bounds.
"""

from __future__ import annotations

import math

from foveal.errors import CheckpointError
from foveal.models.bounds import SWITCH, TEXT, Rule, either, list_of, number, shown, whole
from foveal.models.gguf.reader import GgufFile

SIZE = whole(1, 2**31)
OF_LAYERS = either(SIZE, list_of(SIZE, 1024, 1))  # some files give one for each layer
FLOAT = number(-math.inf, 1e12)
SCORE: Rule = (lambda value: isinstance(value, float)), "a number"
ID = whole(-1, 2**32 - 1)  # of no token, too

RULES: dict[str, Rule] = {  # by names without the architecture
    "general.architecture": TEXT,
    # decoders
    **dict.fromkeys(("embedding_length", "block_count", "context_length", "attention.key_length"), SIZE),
    **dict.fromkeys(("attention.head_count", "attention.head_count_kv"), OF_LAYERS),
    **dict.fromkeys(("rope.dimension_count", "rope.scaling.original_context_length"), SIZE),
    "rope.dimension_sections": list_of(whole(0, 4096), 4, 3),
    "rope.scaling.type": TEXT,
    **dict.fromkeys(("rope.freq_base", "rope.freq_base_swa", "rope.scale_linear", "rope.scaling.factor"), FLOAT),
    **dict.fromkeys((f"rope.scaling.{name}" for name in ("attn_factor", "yarn_attn_factor", "yarn_ext_factor")), FLOAT),
    **dict.fromkeys((f"rope.scaling.yarn_{name}" for name in ("beta_fast", "beta_slow", "log_multiplier")), FLOAT),
    "attention.scale": FLOAT,
    # vision parts
    **dict.fromkeys(("image_size", "patch_size", "projector.scale_factor", "spatial_merge_size"), SIZE),
    **dict.fromkeys(("preproc_image_size", "n_wa_pattern"), SIZE),
    **dict.fromkeys(("image_grid_pinpoints", "wa_layer_indexes"), list_of(whole(0, 2**31), 1024)),
    "is_deepstack_layers": list_of(SWITCH, 1024),
    # tokenizers
    **dict.fromkeys(("model", "pre"), TEXT),
    **dict.fromkeys((f"{role}_token_id" for role in ("bos", "eos", "eot", "eom", "unknown")), ID),
    "scores": list_of(SCORE, 2**22),
    **dict.fromkeys(("tokens", "merges"), list_of(TEXT, 2**22)),
    "token_type": list_of(whole(0, 255), 2**22),
}


def check_kinds(file: GgufFile) -> None:
    """Raises CheckpointError that names the first setting of another kind."""
    prefixes = ("clip.vision.", "tokenizer.ggml.", f"{file.metadata.get('general.architecture')}.")
    for name, value in file.metadata.items():
        prefix = next((each for each in prefixes if name.startswith(each)), "")
        is_right, wanted = RULES.get(name.removeprefix(prefix), (lambda value: True, ""))
        if not is_right(value):
            raise CheckpointError(f"{file.path}: {name} is {shown(value)}; it must be {wanted}")
