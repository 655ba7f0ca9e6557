"""models/gguf/reader: metadata and tensors are those that gguf's writer wrote; a file that lies is refused at once."""

from __future__ import annotations

import random
import re
import struct
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from foveal.errors import CheckpointError
from foveal.models.gguf.reader import GgufFile, parts_of

TOKENS = ["a", "é", "▁the", ""]


def write(path: Path) -> Path:
    """A file with every type of setting, and three tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    for kind, value in [("uint8", 200), ("int8", -3), ("uint16", 60000), ("int16", -300), ("int32", -70000)]:
        getattr(writer, f"add_{kind}")(f"test.{kind}", value)
    writer.add_uint64("test.uint64", 2**63)
    writer.add_int64("test.int64", -(2**62))
    writer.add_float64("test.float64", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_rope_freq_base(10000.0)
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.5, -1.0, 2.0, 0.0])
    writer.add_token_types([1, 1, 1, 3])
    weight = np.linspace(-1, 1, 6 * 64, dtype=np.float32).reshape(6, 64)
    writer.add_tensor("output_norm.weight", weight[0])
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("token_embd.weight", gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.add_tensor("v.patch_embd.weight", weight.reshape(2, 3, 8, 8).astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write(tmp_path / "model.gguf")


def test_settings_are_those_that_were_written(written: Path) -> None:
    theirs = {name: field.contents() for name, field in gguf.GGUFReader(written).fields.items() if "GGUF." not in name}

    assert dict(GgufFile.read(written).metadata) == theirs
    assert theirs["tokenizer.ggml.tokens"] == TOKENS


def test_tensors_are_those_that_were_written(written: Path) -> None:
    file = GgufFile.read(written)

    for theirs in gguf.GGUFReader(written).tensors:
        ours = file.tensors[theirs.name]
        assert (ours.kind.name, ours.shape) == (theirs.tensor_type.name, tuple(theirs.shape[::-1].tolist()))
        assert file.bytes_of(theirs.name).tobytes() == theirs.data.tobytes()
    assert file.bytes_of("token_embd.weight").shape == (6, 68)


def test_a_model_in_several_files() -> None:
    assert [*parts_of(Path("a/m-00001-of-00003.gguf"))] == [Path(f"a/m-0000{i}-of-00003.gguf") for i in (1, 2, 3)]
    assert [*parts_of(Path("a/best-of-them.gguf"))] == [Path("a/best-of-them.gguf")]


# --- files that lie ---------------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def tensor(name: str, axes: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(axes)}QIQ", len(axes), *axes, kind, offset)


def header(num_tensors: int, num_settings: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_settings) + rest + bytes(512)


def setting(kind: int, value: bytes, name: str = "a") -> bytes:
    return text(name) + struct.pack("<I", kind) + value


LIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "cannot be read"),
    "another kind of file": (b"\x80\x02pickle", "is no GGUF file"),
    "an old version": (header(0, 0, version=1), "version 1"),
    "the other byte order": (header(0, 0, version=3 << 24), "version"),
    "a million tensors": (header(10**6, 0, tensor("a") * 10**4), "claims 1000000 tensors"),
    "settings beyond the end": (header(0, 1000)[:24], "goes beyond its end"),
    "a text beyond the end": (header(0, 1, setting(8, struct.pack("<Q", 2**20))), "goes beyond its end"),
    "a text of all memory": (header(0, 1, setting(8, struct.pack("<Q", 2**63))), "claims a text of"),
    "a list of all memory": (header(0, 1, setting(9, struct.pack("<IQ", 0, 2**62))), "claims a list of"),
    "a list of texts of all memory": (header(0, 1, setting(9, struct.pack("<IQ", 8, 2**62))), "claims .* texts"),
    "a list in a list": (header(0, 1, setting(9, struct.pack("<IQ", 9, 1))), "lists in lists"),
    "an unknown type of setting": (header(0, 1, setting(13, b"")), "unknown type 13"),
    "no text": (header(0, 1, setting(8, struct.pack("<Q", 2) + b"\xff\xff")), "not UTF-8"),
    "a setting twice": (header(0, 2, setting(0, b"1") * 2), "the setting 'a' twice"),
    "an alignment": (header(0, 1, setting(4, struct.pack("<I", 24), "general.alignment")), "alignment"),
    "a tensor twice": (header(2, 0, tensor("a") + tensor("a", offset=128)), "the tensor 'a' twice"),
    "tensors that overlap": (header(2, 0, tensor("a") + tensor("b", offset=96)), "'b' does not begin"),
    "a tensor beside its place": (header(1, 0, tensor("a", offset=8)), "'a' does not begin"),
    "a tensor beyond the end": (header(1, 0, tensor("a", (512,))), "cut off before the end of 'a'"),
    "a tensor far beyond the end": (header(1, 0, tensor("a", offset=2**63)), "cut off before the end of 'a'"),
    "an unknown type of tensor": (header(1, 0, tensor("a", kind=31)), "the type 31 of ggml, which cannot be read"),
    "a tensor without axes": (header(1, 0, tensor("a", ())), "'a' has 0 axes"),
    "a tensor of many axes": (header(1, 0, tensor("a", (1,) * 9)), "'a' has 9 axes"),
    "a tensor of nothing": (header(1, 0, tensor("a", (32, 0))), r"the shape \[0, 32\]"),
    "a tensor of all memory": (header(1, 0, tensor("a", (2**62, 2**62))), "'a' has the shape"),
    "half a block": (header(1, 0, tensor("a", (48,), kind=8)), "'a' has the shape"),
}


@pytest.mark.parametrize(("content", "message"), LIES.values(), ids=LIES)
def test_a_file_that_lies_is_refused_in_one_sentence(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=message) as caught:
        GgufFile.read(path)

    assert str(caught.value).startswith(str(path))
    assert not re.search(r"\. [A-Z]", str(caught.value))


def mutated(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) // (1 if rng.random() < 0.1 else 3))
        match rng.randrange(3):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + 8] = struct.pack("<Q", rng.choice([0, 1, 2**31, 2**32, 2**40, 2**63, 2**64 - 1]))
            case _:
                del changed[at : at + rng.randrange(1, 64)]
    return bytes(changed)


def test_whatever_is_changed_in_a_file_it_is_read_or_refused(written: Path) -> None:
    content, rng = written.read_bytes(), random.Random(38)
    started, refused = time.process_time(), 0
    for _ in range(1500):
        written.write_bytes(mutated(content, rng))
        try:
            file = GgufFile.read(written)
            _touch(file)
        except CheckpointError:
            refused += 1
    assert refused > 500
    assert time.process_time() - started < 60


def _touch(file: GgufFile) -> Any:
    return [file.bytes_of(name).sum() for name in file.tensors]
