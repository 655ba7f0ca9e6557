"""Exports a run as a model folder that the server can load.

`python -m training.export training/charts.toml src/foveal/bundled/foveal-mini --heads training/heads.safetensors`

The layout is Phi-3-vision's: its file names, its config.json keys, its tensor names. The heads, which only training
needs, are written to another file.
"""

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from training.config import Run, TrainingConfig, read_config
from training.heads import dense_heads, save_heads
from training.model import ModelConfig
from training.preprocess import MEAN, STD
from training.tokenizer import BOS, END, END_OF_TEXT, SPECIAL_TOKENS, UNKNOWN
from training.train import stage_end

CONTEXT = 8192  # positions, room for thirty pictures; rotary embeddings were trained on the first 900

# Phi-3-vision's turns. A user who shows pictures and asks nothing is taken to ask for a description, which the model
# has learned; a turn without a question it has never seen.
CHAT_TEMPLATE = """
{%- for message in messages -%}
    {%- set asks = namespace(something=message['role'] != 'user') -%}
    {%- for line in message['content'].split('\\n') if line -%}
        {%- if not (line.startswith('<|image_') and line.endswith('|>')) %}{% set asks.something = true %}{% endif -%}
    {%- endfor -%}
    {{- '<|' + message['role'] + '|>\\n' + message['content'] -}}
    {{- '' if asks.something else 'Describe the picture.' -}}
    {{- '<|end|>\\n' -}}
{%- endfor -%}
{{- '<|assistant|>\\n' if add_generation_prompt else '' -}}
"""


def config_json(config: ModelConfig) -> dict[str, Any]:
    return {
        "architectures": ["Phi3VForCausalLM"],
        "model_type": "phi3_v",
        "attention_dropout": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "bos_token_id": BOS,
        "eos_token_id": END_OF_TEXT,
        "pad_token_id": UNKNOWN,
        "embd_layer": {
            "embedding_cls": "image",
            "hd_transform_order": "sub_glb",
            "projection_cls": "mlp",
            "use_hd_transform": True,
            "with_learnable_separator": True,
        },
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "img_processor": {
            "image_dim_out": config.vision_width,
            "model_name": "foveal-mini",
            "name": "clip_vision_model",
            "num_img_tokens": (config.patches_per_side // 2) ** 2,
            "layer_idx": -1,
            "vision_config": {
                "hidden_size": config.vision_width,
                "intermediate_size": config.vision_mlp,
                "num_hidden_layers": config.vision_layers,
                "num_attention_heads": config.vision_heads,
                "image_size": config.crop_size,
                "patch_size": config.patch_size,
                "hidden_act": "quick_gelu",
                "layer_norm_eps": 1e-05,
            },
        },
        "max_position_embeddings": CONTEXT,
        "original_max_position_embeddings": CONTEXT,
        "rope_scaling": None,
        "rope_theta": config.rope_theta,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "hidden_size": config.width,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.heads,
        "vocab_size": config.vocab_size,
        "rms_norm_eps": 1e-05,
    }


def preprocessor_json(config: ModelConfig) -> dict[str, Any]:
    return {
        "image_mean": [round(value, 8) for value in MEAN.tolist()],
        "image_std": [round(value, 8) for value in STD.tolist()],
        "image_processor_type": "Phi3VImageProcessor",
        "processor_class": "Phi3VProcessor",
        "num_crops": config.num_crops,
        "num_img_tokens": (config.patches_per_side // 2) ** 2,
        "crop_size": config.crop_size,
    }


def tokenizer_json() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": CHAT_TEMPLATE,
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": SPECIAL_TOKENS[BOS],
        "eos_token": SPECIAL_TOKENS[END_OF_TEXT],
        "pad_token": SPECIAL_TOKENS[UNKNOWN],
        "unk_token": SPECIAL_TOKENS[UNKNOWN],
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
    }


def generation_json() -> dict[str, Any]:
    return {"bos_token_id": BOS, "eos_token_id": [END, END_OF_TEXT], "pad_token_id": UNKNOWN, "do_sample": False}


def final_weights(run: Run) -> dict[str, Tensor]:
    """The run's final weights: the weighted mean of those after its averaged stages, or else its checkpoint's.

    Raises ValueError if the shares do not add up to 1, FileNotFoundError if one of the stages has not ended.
    """
    folder = Path(run.folder)
    if not run.averaged:
        checkpoint: dict[str, Tensor] = torch.load(folder / "checkpoint.pt", map_location="cpu")["modules"]
        return checkpoint
    if not math.isclose(sum(run.averaged.values()), 1):
        raise ValueError(f"the shares of `averaged` come to {sum(run.averaged.values()):g}; make them 1 together")
    files = {stage: stage_end(folder, stage) for stage in run.averaged}
    if missing := [stage for stage, file in files.items() if not file.exists()]:
        raise FileNotFoundError(
            f"the run in {folder} has not ended {' and '.join(missing)} yet; train on, or leave `averaged` out of its "
            "configuration to export its checkpoint"
        )
    shared = [(share, torch.load(files[stage], map_location="cpu")) for stage, share in run.averaged.items()]
    return {name: torch.stack([share * end[name] for share, end in shared]).sum(0) for name in shared[0][1]}


def export(config: TrainingConfig, target: Path, heads_file: Path | None = None) -> None:
    run = Path(config.run.folder)
    target.mkdir(parents=True, exist_ok=True)
    modules = final_weights(config.run)
    weights, of_heads = (
        {name[2:]: value for name, value in modules.items() if name[:2] == part} for part in ("0.", "1.")
    )
    weights = {name: value.bfloat16().contiguous() for name, value in weights.items()}
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    (target / "model.safetensors").chmod(0o644)
    shutil.copyfile(run / "tokenizer.json", target / "tokenizer.json")
    if heads_file:
        heads = dense_heads(config.model)
        heads.load_state_dict(of_heads)
        save_heads(heads, heads_file)
    files = {
        "config": config_json(config.model),
        "preprocessor_config": preprocessor_json(config.model),
        "tokenizer_config": tokenizer_json(),
        "generation_config": generation_json(),
    }
    for name, content in files.items():
        (target / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--heads", type=Path, help="where to keep what a run needs that goes on from the folder")
    arguments = parser.parse_args()
    export(read_config(arguments.config), arguments.target, arguments.heads)


if __name__ == "__main__":
    main()
