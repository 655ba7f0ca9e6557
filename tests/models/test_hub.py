"""A model's name becomes a folder, and every failure tells what to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import errors

from foveal.errors import CheckpointError
from foveal.models.hub import BUNDLED_FOLDER, SETTINGS, WEIGHTS, check_model, local_folder
from tests.builders import tiny_phi3_v

if TYPE_CHECKING:
    from pathlib import Path


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
