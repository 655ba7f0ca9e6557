"""scaleout/ingress.py: the application of one machine, with engines elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from foveal.config import (
    AccountingConfig,
    Config,
    EngineConfig,
    HttpConfig,
    ImageConfig,
    ModelConfig,
    ScaleoutConfig,
    ServedConfig,
    UpstreamConfig,
)
from foveal.errors import ConfigError
from foveal.scaleout.ingress import ingress, max_num_in_flight
from foveal.scaleout.messages import ReplicaLost
from foveal.types import Token
from tests.accounting.builders import until
from tests.builders import tiny_phi3_v
from tests.scaleout.fakes import INFO, FakeReplicas

pytestmark = pytest.mark.anyio

A, B = 68, 69  # ids of letters, which the tiny model's tokenizer has after `<unk>`, `<s>` and `</s>`
ROOMY = replace(INFO, vocab_size=1000)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        model=ModelConfig(path=str(tiny_phi3_v(tmp_path / "tiny")), name="tiny"),
        images=ImageConfig(num_workers=0, arena_bytes=1 << 20),
        accounting=AccountingConfig(path=str(tmp_path / "accounts.db")),
    )


def client_of(app: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")  # type: ignore[arg-type]


async def ready(client: httpx.AsyncClient) -> None:
    for _ in range(1000):
        if (await client.get("/readyz")).status_code == 200:
            return
        await asyncio.sleep(0.01)  # what loads the model has its turn
    raise AssertionError("it never gets ready")


async def test_it_answers_when_a_replica_has_loaded_the_model(config: Config) -> None:
    replicas = FakeReplicas([[Token(A, "stop")]], info_of_all=ROOMY, loaded=asyncio.Event())
    assert replicas.loaded
    async with ingress(config, replicas) as app, client_of(app) as client:
        assert (await client.get("/readyz")).status_code == 503
        replicas.loaded.set()
        await ready(client)


async def test_a_client_sees_nothing_of_a_lost_replica(config: Config) -> None:
    replicas = FakeReplicas([[Token(A), ReplicaLost("killed")], [Token(B, "length")]], info_of_all=ROOMY)
    async with ingress(config, replicas) as app, client_of(app) as client:
        await ready(client)
        answer = await client.post("/v1/completions", json={"model": "tiny", "prompt": "x"})

    assert answer.status_code == 200
    [choice], usage = answer.json()["choices"], answer.json()["usage"]
    assert (len(choice["text"]), usage["completion_tokens"]) == (2, 2)


async def test_models_of_other_servers_are_served_beside_its_own(config: Config) -> None:
    elsewhere = ServedConfig("larger", UpstreamConfig("http://127.0.0.1:9/v1"))
    both = replace(config, models=(elsewhere,))
    async with ingress(both, FakeReplicas([[]], info_of_all=ROOMY)) as app, client_of(app) as client:
        listed = (await client.get("/v1/models")).json()["data"]

    assert [model["id"] for model in listed] == ["tiny", "larger"]


async def test_addresses_that_others_reach_need_a_key(config: Config) -> None:
    open_to_all = replace(config, http=HttpConfig(host="0.0.0.0"))

    with pytest.raises(ConfigError, match="no API key"):
        async with ingress(open_to_all, FakeReplicas([[]])):
            pass


def test_it_accepts_as_many_as_the_most_replicas_take() -> None:
    engine = EngineConfig(max_num_seqs=2, max_num_waiting=8)

    assert max_num_in_flight(Config(engine=engine, scaleout=ScaleoutConfig(num_replicas=3))) == 30
    assert max_num_in_flight(Config(engine=engine, scaleout=ScaleoutConfig(num_replicas=1, max_replicas=4))) == 40


async def test_a_model_that_cannot_be_loaded_is_said(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    replicas = FakeReplicas([[]], info_of_all=ROOMY, fails=RuntimeError("no replica can be started"))
    async with ingress(config, replicas) as app, client_of(app) as client:
        assert (await client.get("/readyz")).status_code == 503
        await until(lambda: "no replica can be started" in caplog.text)
