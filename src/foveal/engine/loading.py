"""Loads an engine from a checkpoint folder and settings. Runs in the thread that will call the engine's steps."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from foveal.config import MIB
from foveal.engine.encoder import Encoder
from foveal.engine.encoder_cache import EncoderCache
from foveal.engine.engine import Engine
from foveal.engine.grammar import Grammars
from foveal.engine.guide import Guides
from foveal.engine.kv_cache import BlockPool
from foveal.engine.machine import available_bytes, kept_folder, this_machine
from foveal.engine.pace import Pace
from foveal.engine.resolve import fit, place, step_budget
from foveal.engine.rounds import Rounds
from foveal.engine.runner import Runner
from foveal.engine.scheduler import Limits, Scheduler
from foveal.engine.state_cache import StateCache
from foveal.layers.linear.kept import FORMAT, SUFFIX, KeptMatrices
from foveal.layers.linear.policy import policy_of
from foveal.models.checkpoint import Checkpoint
from foveal.models.quantisation import GGUF
from foveal.types import EngineInfo, OnProgress
from foveal.workers.memory import give_back

if TYPE_CHECKING:
    from foveal.arena import PixelArena
    from foveal.config import EngineConfig
    from foveal.engine.resolve import Capacity, Placement
    from foveal.models.family import Model

log = logging.getLogger(__name__)

WORTH_KEEPING_BYTES = 8 * MIB  # of weights; fewer are quantised in a moment
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def load_engine(
    folder: str, config: EngineConfig, arena: PixelArena, load_model: str, on_progress: OnProgress
) -> tuple[Engine, EngineInfo]:
    """Load the model and make its caches.

    load_model: "module:name" of a function with the signature of `models.registry.load_model`.
    Raises CheckpointError or ConfigError.
    """
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    checkpoint = Checkpoint.read(Path(folder))
    folder_of_caches = kept_folder(os.environ)
    placement = place(config, this_machine(folder_of_caches), checkpoint.dtype, bool(checkpoint.quantisation))
    device, dtype = torch.device(placement.device), DTYPES[placement.dtype]
    policy = policy_of(placement.quantization)
    kept = kept_matrices(checkpoint, placement, config.quantised_cache_bytes, folder_of_caches)
    model: Model = pkgutil.resolve_name(load_model)(folder, device, dtype, on_progress, policy, kept)
    if kept:
        kept.save()
    decoder = model.decoder
    token_bytes = 2 * math.prod(decoder.kv_shape) * dtype.itemsize
    state_bytes = sum(shape.num_bytes(dtype) for shape in decoder.state_shapes)
    capacity = fit(config, placement, available_bytes(device), token_bytes, decoder.max_model_len, state_bytes)
    info = EngineInfo(
        model_type=checkpoint.model_type,
        device=placement.device,
        dtype=placement.dtype,
        vocab_size=decoder.vocab_size,
        max_model_len=capacity.max_model_len,
        block_size=config.block_size,
        num_blocks=capacity.num_blocks,
        kv_cache_bytes=capacity.num_blocks * config.block_size * token_bytes,
        weights=f"{checkpoint.weight_format}, {_served(placement, is_quantised=bool(checkpoint.quantisation))}",
    )
    guides = _guides(Path(folder), decoder.vocab_size)
    engine = build_engine(model, config, arena, capacity, device, dtype, guides)
    give_back()
    return engine, info


def _served(placement: Placement, *, is_quantised: bool) -> str:
    """How weights are served, in words."""
    width = placement.dtype if placement.quantization == "none" else placement.quantization
    if placement.quantization == "published" or (is_quantised and placement.quantization != "none"):
        rest = "" if placement.quantization == "published" else f", the rest as {width}"
        return f"served as they are{rest}"
    return f"served as {width}"


def kept_matrices(
    checkpoint: Checkpoint, placement: Placement, max_bytes: int, folder: Path | None
) -> KeptMatrices | None:
    """Quantised weights of earlier starts in `folder`. None where there are none to keep, or no folder for them.

    A GGUF file's are multiplied as they lie in it: to keep them would be to store them twice.
    """
    is_gguf = checkpoint.quantisation.get("quant_method") == GGUF
    is_worth_it = placement.quantization != "none" and checkpoint.weight_bytes >= WORTH_KEEPING_BYTES and not is_gguf
    if not (is_worth_it and max_bytes and folder):
        return None
    asked = f"{FORMAT} {placement.quantization} {placement.dtype} {checkpoint.content_key}"
    return KeptMatrices(folder / "quantised" / f"{hashlib.sha256(asked.encode()).hexdigest()}{SUFFIX}", max_bytes)


def _guides(folder: Path, vocab_size: int) -> Guides | None:
    """Made before the first request, since it takes long and would stop all streams."""
    try:
        return Guides(Grammars(folder).start, vocab_size)
    except (OSError, ValueError) as error:
        log.warning("this model cannot hold answers to grammars: %s", error)
        return None


def build_engine(
    model: Model,
    config: EngineConfig,
    arena: PixelArena,
    capacity: Capacity,
    device: torch.device,
    dtype: torch.dtype,
    guides: Guides | None = None,
) -> Engine:
    """Put a loaded model, its caches and a scheduler together."""
    encoder_cache = EncoderCache(config.encoder_cache_bytes)
    runner = Runner(model, encoder_cache, capacity, config.block_size, device, dtype)  # first: memory may be too short
    budget, pool, room = step_budget(config, device.type), BlockPool(capacity.num_blocks), capacity.states
    limits = Limits(
        max_num_seqs=room.num_slots if room else config.max_num_seqs,
        max_num_batched_tokens=budget.num_tokens,
        block_size=config.block_size,
        whole_spans=model.traits.whole_spans,
        rereads_images=model.traits.rereads_images,
    )
    states = StateCache(room.num_slots, room.num_snapshots, pool.has) if room else None
    scheduler = Scheduler(limits, pool, encoder_cache, states)
    pace = Pace(budget.seconds, budget.num_tokens)
    rounds = Rounds(budget.num_crops, model.traits.splits_images)
    encoder = Encoder(model.images, rounds, encoder_cache, arena, device)
    return Engine(scheduler, pace, encoder, runner, capacity.max_model_len, guides)
