"""The answers of transformers: its own processor, chat template, model and `generate`. Never with remote code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers

from foveal.errors import FovealError
from foveal.verify.cases import pictures
from foveal.verify.compare import Said

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from foveal.verify.cases import Case

TOP = 20  # logprobs a token: those of ours are looked up among them


def ask_theirs(folder: Path, cases: Iterable[Case], num_tokens: int, dtype: str, device: str) -> dict[Case, Said]:
    """Raises FovealError where transformers cannot load the checkpoint, or it brings no chat template."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    cases = tuple(cases)
    has_images = any(case.sizes for case in cases)
    kind = "AutoModelForImageTextToText" if has_images else "AutoModelForCausalLM"
    processor_kind = "AutoProcessor" if has_images else "AutoTokenizer"
    try:
        processor = getattr(transformers, processor_kind).from_pretrained(folder, local_files_only=True)
        model = getattr(transformers, kind).from_pretrained(
            folder, dtype=getattr(torch, dtype), attn_implementation="eager", local_files_only=True
        )
    except (ImportError, OSError, ValueError) as error:
        raise FovealError(f"transformers cannot load {folder}: {str(error).strip().splitlines()[0]}") from error
    if getattr(processor, "chat_template", None) is None:
        raise FovealError(f"{folder} brings no chat template, so transformers has no prompt to compare with.")
    model = model.to(device).eval()
    model.generation_config = transformers.GenerationConfig(pad_token_id=0)  # nothing but the likeliest token
    return {case: _ask(model, processor, case, num_tokens) for case in cases}


@torch.inference_mode()
def _ask(model: Any, processor: Any, case: Case, num_tokens: int) -> Said:
    images: list[dict[str, Any]] = [{"type": "image", "image": picture} for picture in pictures(case)]
    text = {"type": "text", "text": case.question}
    content = [*images, text] if images else case.question
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    ).to(model.device)
    made = model.generate(
        **inputs, max_new_tokens=num_tokens, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    prompt = inputs["input_ids"][0].tolist()
    tokens = made.sequences[0, len(prompt) :].tolist()
    return Said(
        prompt=tuple(prompt),
        tokens=tuple(tokens),
        logprobs=tuple(_likeliest(logits[0]) for logits in made.logits),
        text=processor.decode(tokens, skip_special_tokens=True),
    )


def _likeliest(logits: torch.Tensor) -> dict[int, float]:
    top = torch.log_softmax(logits.float(), -1).topk(min(TOP, len(logits)))
    return dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))
