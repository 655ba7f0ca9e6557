"""workers/spawn.py: what a child inherits. (tests/faults/test_children.py tests the server's real children.)"""

from __future__ import annotations

import pytest

from foveal.workers.spawn import INHERITED_BY_TORCH, ONE_THREAD, Kind, environment

DECODING = Kind("a:b", ONE_THREAD)
COMPUTING = Kind("a:b", {"GOMP_SPINCOUNT": "3000"}, INHERITED_BY_TORCH)


@pytest.mark.parametrize(
    "name",
    [
        "FOVEAL_HTTP_API_KEYS", "HF_TOKEN", "NVIDIA_API_KEY", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL",
        "HTTPS_PROXY", "NOTIFY_SOCKET", "PYTHONSTARTUP", "PYTHONINSPECT", "path", "MY_PATH", "TORCHED",
    ],
)  # fmt: skip
def test_what_no_child_gets(name: str) -> None:
    assert all(name not in environment(kind, {name: "secret"}) for kind in (DECODING, COMPUTING))


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LD_PRELOAD", "HOME"])
def test_what_is_for_torch_alone(name: str) -> None:
    assert environment(COMPUTING, {name: "here"})[name] == "here"
    assert environment(DECODING, {name: "here"}).get(name) == ONE_THREAD.get(name)


def test_what_all_get() -> None:
    for kind in (DECODING, COMPUTING):
        assert (
            environment(kind, {"PATH": "/bin", "LANG": "C.UTF-8"}).items() > {"PATH": "/bin", "LANG": "C.UTF-8"}.items()
        )


def test_whoever_sets_a_default_keeps_what_they_set() -> None:
    assert environment(COMPUTING, {})["GOMP_SPINCOUNT"] == "3000"
    assert environment(COMPUTING, {"GOMP_SPINCOUNT": "7"})["GOMP_SPINCOUNT"] == "7"


def test_a_child_imports_from_where_the_server_does_but_not_from_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["", "/a", "/b"])

    assert environment(DECODING, {"PYTHONPATH": "/elsewhere"})["PYTHONPATH"] == "/a:/b"
