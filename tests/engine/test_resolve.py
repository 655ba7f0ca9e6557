"""engine/resolve.py: which values settings get that were left open."""

from __future__ import annotations

from typing import Any

import pytest

from foveal.config import GIB, EngineConfig
from foveal.engine.resolve import Budget, Capacity, Machine, Placement, StateRoom, fit, place, step_budget
from foveal.errors import ConfigError

PLAIN, SLOW, FAST = Machine(False, "absent"), Machine(False, "slow"), Machine(False, "fast")
NATIVE = Machine(False, "fast", has_native_code=True)
CUDA = Machine(True, "fast", has_native_code=True)
ON_CPU, ON_CUDA = Placement("cpu", "float32"), Placement("cuda", "bfloat16")


@pytest.mark.parametrize(
    ("settings", "machine", "checkpoint_dtype", "expected"),
    [
        ({}, PLAIN, "bfloat16", ("cpu", "float32")),
        ({}, SLOW, "bfloat16", ("cpu", "float32")),
        ({}, FAST, "bfloat16", ("cpu", "bfloat16")),
        ({}, FAST, "float16", ("cpu", "bfloat16")),
        ({}, FAST, "float32", ("cpu", "float32")),
        ({"dtype": "bfloat16"}, SLOW, "bfloat16", ("cpu", "bfloat16")),
        ({"dtype": "bfloat16"}, PLAIN, "float32", ("cpu", "bfloat16")),
        ({}, CUDA, "float32", ("cuda", "bfloat16")),
        ({"device": "cuda:1"}, CUDA, "float16", ("cuda:1", "bfloat16")),
        ({"dtype": "float32"}, CUDA, "bfloat16", ("cuda", "float32")),
        ({}, NATIVE, "bfloat16", ("cpu", "float32", "int8")),
        ({}, NATIVE, "float32", ("cpu", "float32", "int8")),
        ({"device": "cpu"}, CUDA, "bfloat16", ("cpu", "float32", "int8")),
        ({"quantization": "none"}, NATIVE, "bfloat16", ("cpu", "bfloat16")),
        ({"quantization": "int4"}, NATIVE, "bfloat16", ("cpu", "float32", "int4")),
        ({"quantization": "int8"}, FAST, "bfloat16", ("cpu", "float32", "int8")),
        ({"dtype": "bfloat16"}, NATIVE, "bfloat16", ("cpu", "bfloat16")),
        ({"dtype": "bfloat16", "quantization": "int8"}, NATIVE, "bfloat16", ("cpu", "bfloat16", "int8")),
    ],
)
def test_where_a_model_is_placed(
    settings: dict[str, Any], machine: Machine, checkpoint_dtype: str, expected: tuple[str, ...]
) -> None:
    assert place(EngineConfig(**settings), machine, checkpoint_dtype) == Placement(*expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"device": "cuda"}, "set auto or cpu"),
        ({"device": "tpu"}, "set auto, cpu, cuda or cuda:N"),
        ({"dtype": "float16"}, "set auto, bfloat16 or float32"),
        ({"quantization": "fp8"}, "set auto, none, int8 or int4"),
    ],
)
def test_a_place_that_cannot_be_had_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        place(EngineConfig(**settings), PLAIN, "float32")


@pytest.mark.parametrize(
    ("settings", "machine", "expected"),
    [
        ({}, NATIVE, ("cpu", "float32", "published")),
        ({}, FAST, ("cpu", "bfloat16", "none")),
        ({}, CUDA, ("cuda", "bfloat16", "none")),
        ({"dtype": "bfloat16"}, NATIVE, ("cpu", "bfloat16", "none")),
        ({"quantization": "none"}, NATIVE, ("cpu", "bfloat16", "none")),
        ({"quantization": "int8"}, NATIVE, ("cpu", "float32", "int8")),
    ],
)
def test_where_a_quantised_file_is_placed(
    settings: dict[str, Any], machine: Machine, expected: tuple[str, ...]
) -> None:
    assert place(EngineConfig(**settings), machine, "bfloat16", is_quantised=True) == Placement(*expected)


def test_a_gpu_takes_no_quantised_weights() -> None:
    with pytest.raises(ConfigError, match="only a CPU"):
        place(EngineConfig(quantization="int8"), CUDA, "bfloat16")


@pytest.mark.parametrize(
    ("settings", "placement", "available_bytes", "token_bytes", "expected"),
    [
        pytest.param({}, ON_CPU, 64 * GIB, 400_000, Capacity(671, 10_736), id="at most 4 GiB on a CPU"),
        pytest.param({}, ON_CPU, GIB, 16_384, Capacity(1024, 16_384), id="a quarter of what there is"),
        pytest.param({"max_num_seqs": 2}, ON_CPU, 64 * GIB, 1024, Capacity(16_384, 131_072), id="no more than needed"),
        pytest.param({"max_num_seqs": 2, "max_model_len": 100}, ON_CPU, GIB, 1024, Capacity(14, 100), id="short"),
        pytest.param({}, ON_CUDA, 100 * GIB, 400_000, Capacity(13_421, 131_072), id="most of a GPU"),
        pytest.param({"kv_cache_bytes": 65_000}, ON_CPU, GIB, 100, Capacity(40, 640), id="as set"),
        pytest.param(
            {"kv_cache_bytes": 65_000, "max_model_len": 9000}, ON_CPU, GIB, 100, Capacity(40, 9000), id="both as set"
        ),
    ],
)
def test_what_there_is_room_for(
    settings: dict[str, Any], placement: Placement, available_bytes: int, token_bytes: int, expected: Capacity
) -> None:
    config = EngineConfig(**settings)

    assert fit(config, placement, available_bytes, token_bytes, model_max_len=131_072) == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kv_cache_bytes": 1599}, "must be at least 1600"),
        ({"max_model_len": 131_073}, "the model ends at 131072"),
        ({"max_num_seqs": 0}, "max_num_seqs is 0"),
        ({"block_size": -1}, "block_size is -1"),
    ],
)
def test_limits_that_cannot_work_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fit(EngineConfig(**settings), ON_CPU, GIB, 100, model_max_len=131_072)


@pytest.mark.parametrize(
    ("settings", "device", "expected"),
    [
        ({}, "cpu", Budget(512, 2, 0.1)),
        ({}, "cuda", Budget(2048, 8, None)),
        ({"max_num_batched_tokens": 64}, "cpu", Budget(64, 2, 0.1)),
        ({"max_num_batched_crops": 1}, "cuda", Budget(2048, 1, None)),
        ({"step_budget_ms": 30.0}, "cuda", Budget(2048, 8, 0.03)),
        ({"step_budget_ms": 0.0}, "cpu", Budget(512, 2, None)),
    ],
)
def test_what_a_step_may_take(settings: dict[str, Any], device: str, expected: Budget) -> None:
    assert step_budget(EngineConfig(**settings), device) == expected


@pytest.mark.parametrize(
    ("settings", "available_bytes", "expected"),
    [
        ({}, 64 * GIB, StateRoom(64, 20)),
        ({}, 8 * GIB, StateRoom(20, 10)),
        ({"max_num_seqs": 4}, 8 * GIB, StateRoom(4, 10)),
        ({"state_cache_bytes": 5 * GIB}, 64 * GIB, StateRoom(64, 50)),
        ({"state_cache_bytes": 0}, 64 * GIB, StateRoom(64, 0)),
        ({}, GIB // 10, StateRoom(1, 0)),
    ],
)
def test_how_many_states_fit(settings: dict[str, Any], available_bytes: int, expected: StateRoom) -> None:
    """Of a model that keeps 100 MiB of each sequence, or nearly so."""
    config = EngineConfig(kv_cache_bytes=GIB, **settings)

    assert fit(config, ON_CPU, available_bytes, 1000, 4096, state_bytes=GIB // 10).states == expected


def test_keys_and_values_get_what_states_leave() -> None:
    config = EngineConfig(max_num_seqs=10, state_cache_bytes=GIB)

    capacity = fit(config, ON_CUDA, 10 * GIB, GIB // 1000, 10**6, state_bytes=GIB // 10)

    assert capacity.num_blocks == pytest.approx(0.8 * 8000 / 16, abs=1)
