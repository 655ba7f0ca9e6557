"""A model's name becomes a folder, and every failure tells what to do."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path

import pytest
from huggingface_hub import errors

from foveal.errors import CheckpointError
from foveal.models.hub import BUNDLED_FOLDER, SETTINGS, WEIGHTS, check_model, local_folder
from tests.builders import tiny_phi3_v


class Hub:
    """A hub that has one model in `folder`, or only an error to give. `asked` is what it was asked for."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self.folder = folder
        self.error = error
        self.asked: list[tuple[str, str | None, tuple[str, ...]]] = []

    def download(self, hub_id: str, revision: str | None, patterns: tuple[str, ...]) -> str:
        self.asked.append((hub_id, revision, patterns))
        if self.error:
            raise self.error
        return str(self.folder)


def hub_error(kind: type[Exception]) -> Exception:
    """One of the hub library's errors, without the HTTP response that it insists on."""
    return kind.__new__(kind)


def test_the_model_inside_the_package_needs_no_hub() -> None:
    assert local_folder("foveal-mini") == BUNDLED_FOLDER


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert local_folder(str(tmp_path)) == tmp_path


def test_a_hub_id_is_downloaded_settings_first(tmp_path: Path) -> None:
    hub = Hub(tiny_phi3_v(tmp_path))

    assert local_folder("owner/name", "v1", hub.download) == tmp_path
    assert hub.asked == [("owner/name", "v1", SETTINGS), ("owner/name", "v1", WEIGHTS)]


def test_weights_of_an_unsupported_model_are_not_downloaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    hub = Hub(tmp_path)

    with pytest.raises(CheckpointError, match=r"model_type 'gpt2'; supported: .*phi3_v"):
        local_folder("owner/name", None, hub.download)
    assert len(hub.asked) == 1


@pytest.mark.parametrize("path", ["nowhere", "./nowhere", "../nowhere", "./nowhere/at/all", "owner/name/more"])
def test_what_is_neither_folder_nor_hub_id_is_refused(path: str) -> None:
    for look_up in (local_folder, check_model):
        with pytest.raises(CheckpointError, match=r"give a folder, a hub id \(owner/name\) or foveal-mini"):
            look_up(path)


def test_a_folder_that_cannot_be_served_is_refused_before_anything_slow(tmp_path: Path) -> None:
    check_model("foveal-mini")
    check_model("owner/name")  # nothing can be said of it without the hub
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        check_model(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(CheckpointError, match="model_type 'gpt2'"):
        check_model(str(tmp_path))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (hub_error(errors.GatedRepoError), "o/n is gated: accept its terms at https://huggingface.co/o/n"),
        (hub_error(errors.RepositoryNotFoundError), "the hub has no model o/n"),
        (errors.HFValidationError("bad"), "the hub has no model o/n"),
        (hub_error(errors.RevisionNotFoundError), "o/n has no revision 'v9' on the hub"),
        (errors.LocalEntryNotFoundError("gone"), "not in the hub cache .*: go online"),
        (errors.OfflineModeIsEnabled("offline"), "not in the hub cache .*: go online"),
        (hub_error(errors.HfHubHTTPError), r"could not be downloaded \(HfHubHTTPError\); try again"),
        (OSError("disk full"), r"could not be downloaded \(OSError\); try again"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_the_hubs_errors_become_advice(tmp_path: Path, error: Exception, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        local_folder("o/n", "v9", Hub(tmp_path, error).download)


def test_offline_and_not_cached_is_said_by_the_real_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(CheckpointError, match="owner/name is not in the hub cache"):
        local_folder("owner/name")


# --- GGUF files -------------------------------------------------------------------------------------------------------


class HubOfFiles:
    """A hub with one repository of GGUF files: downloads those that match, into one snapshot."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder = folder
        self.names = names
        self.asked: list[str] = []

    def download(self, hub_id: str, revision: str | None, patterns: tuple[str, ...]) -> str:
        for name in self.names:
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                self.asked.append(name)
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / name).write_bytes(b"GGUF")
        self.folder.mkdir(exist_ok=True)
        return str(self.folder)


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path | None]]:
    """What a folder was made of."""
    made: list[tuple[Path, Path | None]] = []

    def folder_of(model: Path, vision: Path | None = None) -> Path:
        made.append((model, vision))
        return Path("made")

    monkeypatch.setattr("foveal.models.gguf.folder.folder_of", folder_of)
    return made


def test_one_width_of_a_repository_and_its_vision_part_in_half_precision(
    tmp_path: Path, folders: list[tuple[Path, Path | None]]
) -> None:
    names = ["m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-Q8_0.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"]
    hub = HubOfFiles(tmp_path / "hub", names)

    assert local_folder("owner/name:Q4_K_M", None, hub.download) == Path("made")

    assert hub.asked == ["m-Q4_K_M.gguf", "mmproj-F16.gguf"]
    assert folders == [(hub.folder / "m-Q4_K_M.gguf", hub.folder / "mmproj-F16.gguf")]


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (["m.q4_k_m.gguf"], ["m.q4_k_m.gguf"]),
        (["m-q4_k_m.gguf", "mmproj-m-Q8_0.gguf"], ["m-q4_k_m.gguf", "mmproj-m-Q8_0.gguf"]),
        ([f"Q4_K_M/m-Q4_K_M-0000{i}-of-00002.gguf" for i in (1, 2)], None),
    ],
)
def test_other_names_that_files_have(
    names: list[str], asked: list[str] | None, tmp_path: Path, folders: list[tuple[Path, Path | None]]
) -> None:
    hub = HubOfFiles(tmp_path / "hub", names)

    local_folder("owner/name:Q4_K_M", None, hub.download)

    assert hub.asked == (asked or names)
    assert folders[0][0] == hub.folder / names[0]


def test_a_width_that_a_repository_lacks_or_has_twice(tmp_path: Path) -> None:
    hub = HubOfFiles(tmp_path / "hub", ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"])

    with pytest.raises(CheckpointError, match=r"name one of these: a-Q4_K_M\.gguf, b-Q4_K_M\.gguf"):
        local_folder("owner/name:Q4_K_M", None, hub.download)
    with pytest.raises(CheckpointError, match=r"GGUF file Q2_K of a model: name one of these: none"):
        local_folder("owner/name:Q2_K", None, HubOfFiles(tmp_path / "empty", []).download)


def test_a_file_or_a_folder_of_files(tmp_path: Path, folders: list[tuple[Path, Path | None]]) -> None:
    for name in ("m.gguf", "mmproj-m.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")

    local_folder(str(tmp_path))
    local_folder(str(tmp_path / "m.gguf"), vision="other.gguf")
    local_folder(str(tmp_path / "m.gguf"))

    model = tmp_path / "m.gguf"
    assert folders == [(model, tmp_path / "mmproj-m.gguf"), (model, Path("other.gguf")), (model, None)]
