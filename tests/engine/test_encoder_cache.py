"""engine/encoder_cache.py: features are bounded, and pinned ones are kept."""

from __future__ import annotations

import pytest
import torch

from foveal.engine.encoder_cache import EncoderCache
from foveal.engine.kv_cache import IntegrityError
from foveal.engine.sequence import ImageKey


def key(name: str) -> ImageKey:
    return b"", name.encode()


def features(num_bytes: int) -> torch.Tensor:
    return torch.zeros(num_bytes, dtype=torch.uint8)


def cached(cache: EncoderCache, names: str) -> str:
    return "".join(name for name in names if cache.features(key(name)) is not None)


def test_the_least_recently_needed_goes_first() -> None:
    cache = EncoderCache(30)
    for name in "abc":
        cache.put(key(name), features(10))
    cache.pin(key("a"), 1)
    cache.unpin(key("a"), 1)

    cache.put(key("d"), features(10))

    assert cached(cache, "abcd") == "acd"
    assert cache.num_bytes == 30


def test_what_is_pinned_stays_beyond_the_bound_until_the_last_one_lets_go() -> None:
    cache = EncoderCache(10)
    for sequence_id in (1, 2):
        cache.pin(key("a"), sequence_id)
    cache.put(key("a"), features(20))
    assert cache.is_full

    cache.unpin(key("a"), 1)
    assert cached(cache, "a") == "a"
    cache.unpin(key("a"), 2)

    assert cached(cache, "a") == ""
    assert cache.num_bytes == 0


def test_parts_are_kept_in_order_until_the_image_is_whole() -> None:
    cache = EncoderCache(100)
    cache.add_crops(key("a"), torch.tensor([1.0, 2.0]))
    cache.add_crops(key("a"), torch.tensor([3.0]))

    assert torch.cat(cache.crops(key("a"))).tolist() == [1, 2, 3]
    assert cache.num_crops(key("a")) == 3
    assert cache.features(key("a")) is None
    cache.put(key("a"), features(7))

    assert cache.crops(key("a")) == ()
    assert cache.num_bytes == 7


def test_incomplete_features_are_evicted_too() -> None:
    cache = EncoderCache(10)
    cache.add_crops(key("a"), features(8))

    cache.put(key("b"), features(8))

    assert cache.num_crops(key("a")) == 0
    assert cached(cache, "ab") == "b"


def test_a_dropped_image_is_gone_though_it_is_pinned() -> None:
    cache = EncoderCache(10)
    cache.pin(key("a"), 1)
    cache.put(key("a"), features(5))

    cache.drop(key("a"))

    assert cached(cache, "a") == ""
    assert cache.pinned_by(key("a")) == {1}


def test_a_pin_of_a_request_that_does_not_run_is_noticed() -> None:
    cache = EncoderCache(10)
    cache.pin(key("a"), 7)

    cache.check_integrity([7])
    with pytest.raises(IntegrityError):
        cache.check_integrity([8])
