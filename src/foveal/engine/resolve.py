"""Decides settings that were left open: pure functions of the settings and of facts about the machine and the model.

Imports no torch and measures nothing; `machine` gathers the facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from foveal.config import GIB, EngineConfig
from foveal.errors import ConfigError

CPU_KV_CACHE_BYTES = 4 * GIB  # at most, unless set
CPU_MEMORY_SHARE = 0.25  # of the memory available after the weights are loaded
CUDA_MEMORY_SHARE = 0.8  # the rest is for the activations of a step
STATE_SHARE = 0.25  # of the memory available, at most, for the states of running sequences
SNAPSHOT_SHARE, SNAPSHOT_BYTES = 0.125, 2 * GIB  # for snapshots of them, whichever is less, unless set
QUANTIZATIONS = ("none", "int8", "int4")
# Tokens of a step, crops of a run of the encoder, milliseconds of a step with streams. On a CPU, a step of 2048 tokens
# takes minutes with a model of some billions of parameters. Matrix products are as fast with 512 rows.
CPU_BUDGET, CUDA_BUDGET = (512, 2, 100.0), (2048, 8, 0.0)


# A CPU's bfloat16 instructions: absent, slower than float32, or faster than float32.
Bfloat16 = Literal["absent", "slow", "fast"]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine has for the engine."""

    has_cuda: bool
    bfloat16: Bfloat16  # of the CPU
    has_native_code: bool = False  # that this CPU can run


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the model runs and in which dtype: decided before it is loaded."""

    device: str  # cpu, cuda or cuda:N
    dtype: str  # bfloat16 or float32
    quantization: str = "none"  # of the large matrices: none, published (as the file has them), int8 or int4


@dataclass(frozen=True, slots=True)
class StateRoom:
    """How many states fit into memory, of a model that keeps them: of sequences that run, and snapshots."""

    num_slots: int
    num_snapshots: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much fits into memory: decided after the model is loaded."""

    num_blocks: int
    max_model_len: int  # tokens
    states: StateRoom | None = None  # of a model that keeps states


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of one step."""

    num_tokens: int
    num_crops: int
    seconds: float | None  # see `pace`; None: no limit


def place(config: EngineConfig, machine: Machine, checkpoint_dtype: str, is_quantised: bool = False) -> Placement:
    """Device, dtype and quantization. Raises ConfigError where a setting cannot be met."""
    device = _device(config, machine)
    quantization = _quantization(config, device, machine, is_quantised)
    if config.dtype not in ("auto", "bfloat16", "float32"):
        raise ConfigError(f"engine.dtype is {config.dtype!r}: set auto, bfloat16 or float32")
    if config.dtype != "auto":
        return Placement(device, config.dtype, quantization)
    if device != "cpu":
        return Placement(device, "bfloat16", quantization)
    is_worth_it = machine.bfloat16 == "fast" and quantization == "none" and checkpoint_dtype != "float32"
    return Placement(device, "bfloat16" if is_worth_it else "float32", quantization)


def _device(config: EngineConfig, machine: Machine) -> str:
    device = config.device
    if device == "auto":
        device = "cuda" if machine.has_cuda else "cpu"
    if device != "cpu" and device.partition(":")[0] != "cuda":
        raise ConfigError(f"engine.device is {device!r}: set auto, cpu, cuda or cuda:N")
    if device != "cpu" and not machine.has_cuda:
        raise ConfigError(f"engine.device is {device}, but torch sees no CUDA device: set auto or cpu")
    return device


def _quantization(config: EngineConfig, device: str, machine: Machine, is_quantised: bool) -> str:
    """int8 where the CPU has native code for it (decision 027). Who names a dtype is served in that dtype.

    A quantised file keeps its numbers, and what it leaves unquantised is not rounded (decision 084).
    """
    quantization = config.quantization
    if quantization == "auto":
        if device != "cpu" or not machine.has_native_code or config.dtype != "auto":
            return "none"
        return "published" if is_quantised else "int8"
    if quantization not in QUANTIZATIONS:
        raise ConfigError(f"engine.quantization is {quantization!r}: set auto, none, int8 or int4")
    if quantization != "none" and device != "cpu":
        raise ConfigError(f"engine.quantization is {quantization}, which only a CPU computes: set auto or none")
    return quantization


def fit(
    config: EngineConfig,
    placement: Placement,
    available_bytes: int,
    token_bytes: int,
    model_max_len: int,
    state_bytes: int = 0,
) -> Capacity:
    """How many states and blocks fit, and the longest sequence.

    available_bytes: of the device's memory, after the weights are loaded. token_bytes: keys and values of one token.
    state_bytes: states of one sequence; 0: the model has none.
    Raises ConfigError for limits below one, a context longer than the model's, or a cache that holds no block.
    """
    _check_positive(config)
    if config.max_model_len is not None and config.max_model_len > model_max_len:
        raise ConfigError(f"engine.max_model_len is {config.max_model_len}, but the model ends at {model_max_len}")
    block_bytes = config.block_size * token_bytes
    states = _state_room(config, available_bytes, state_bytes) if state_bytes else None
    if states:
        available_bytes -= state_bytes * (states.num_slots + states.num_snapshots)
    if config.kv_cache_bytes is None:
        num_blocks = _default_num_blocks(config, placement, available_bytes, block_bytes, model_max_len)
    else:
        num_blocks = config.kv_cache_bytes // block_bytes
    if num_blocks < 1:
        raise ConfigError(f"there is no memory for a KV cache: engine.kv_cache_bytes must be at least {block_bytes}")
    max_model_len = config.max_model_len or min(model_max_len, num_blocks * config.block_size)
    return Capacity(num_blocks, max_model_len, states)


def _state_room(config: EngineConfig, available_bytes: int, state_bytes: int) -> StateRoom:
    """Fewer sequences run where memory is short."""
    num_slots = max(1, min(config.max_num_seqs, int(available_bytes * STATE_SHARE) // state_bytes))
    num_bytes = config.state_cache_bytes
    if num_bytes is None:
        num_bytes = min(SNAPSHOT_BYTES, int(available_bytes * SNAPSHOT_SHARE))
    return StateRoom(num_slots, num_bytes // state_bytes)


def _default_num_blocks(
    config: EngineConfig, placement: Placement, available_bytes: int, block_bytes: int, model_max_len: int
) -> int:
    """A share of the memory, but no more than `max_num_seqs` sequences of the greatest length need."""
    if placement.device == "cpu":
        num_bytes = min(CPU_KV_CACHE_BYTES, int(available_bytes * CPU_MEMORY_SHARE))
    else:
        num_bytes = int(available_bytes * CUDA_MEMORY_SHARE)
    blocks_of_longest = -(-(config.max_model_len or model_max_len) // config.block_size)
    return min(num_bytes // block_bytes, config.max_num_seqs * blocks_of_longest)


def step_budget(config: EngineConfig, device: str) -> Budget:
    tokens, crops, ms = CPU_BUDGET if device == "cpu" else CUDA_BUDGET
    ms = ms if config.step_budget_ms is None else config.step_budget_ms
    if ms < 0:
        raise ConfigError(f"engine.step_budget_ms is {ms}: it must be at least 0")
    seconds = ms / 1000 if ms else None
    return Budget(config.max_num_batched_tokens or tokens, config.max_num_batched_crops or crops, seconds)


def _check_positive(config: EngineConfig) -> None:
    for name in ("max_num_seqs", "max_num_batched_tokens", "max_num_batched_crops", "block_size"):
        if (value := getattr(config, name)) is not None and value < 1:
            raise ConfigError(f"engine.{name} is {value}: it must be at least 1")
