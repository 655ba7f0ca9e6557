"""`foveal deploy` on a Ray cluster of three nodes: the loss of an engine, a node, an ingress, and a rolling update."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from foveal.config import AccountingConfig, Config, EngineConfig, HttpConfig, ImageConfig, ModelConfig, ScaleoutConfig
from tests.builders import tiny_phi3_v
from tests.scale import clusters

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.scale,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets and files that Ray leaves to the garbage collector
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what Ray imports
]

NUM_STREAMS = 50
LENGTH = 200  # tokens of a stream
STARTED = 10  # tokens of all streams, after which harm is done
WRITTEN_S = 2.5  # rows of the ledger are written once a second


@dataclass(frozen=True)
class Deployed:
    """Three engines on two nodes, behind one ingress."""

    cluster: Any
    config: Config

    def update(self, config: Config) -> None:
        """Returns when all that runs is new."""
        from ray import serve

        from foveal.scaleout.application import NAME, application

        serve.run(application(config), name=NAME)

    def client(self) -> httpx.AsyncClient:
        unlimited = httpx.Limits(max_connections=None)
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.config.http.port}", timeout=120, limits=unlimited)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    pytest.importorskip("ray")
    config = configured(tmp_path_factory.mktemp("deployed"))
    with clusters.running(config.http.port) as cluster:
        here = Deployed(cluster, config)
        here.update(config)
        yield here


def configured(folder: Path) -> Config:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Config(
        model=ModelConfig(path=str(tiny_phi3_v(folder / "tiny")), name="tiny"),
        engine=EngineConfig(device="cpu", dtype="float32", num_threads=1, kv_cache_bytes=64 << 20),
        images=ImageConfig(num_workers=1, arena_bytes=16 << 20),
        http=HttpConfig(port=port),
        accounting=AccountingConfig(path=str(folder / "accounts.db")),
        scaleout=ScaleoutConfig(num_replicas=3),
    )


def test_a_killed_engines_streams_go_on_with_the_same_tokens(deployed: Deployed) -> None:
    undisturbed, disturbed = asyncio.run(
        compared(deployed, lambda: clusters.kill(clusters.replicas_below(None, "engine")[0]))
    )

    assert disturbed == undisturbed


def test_a_lost_nodes_streams_go_on_with_the_same_tokens(deployed: Deployed) -> None:
    cluster = deployed.cluster
    lost = next(node for node in cluster.worker_nodes if not clusters.replicas_below(node, "ingress"))
    assert clusters.replicas_below(lost, "engine")

    undisturbed, disturbed = asyncio.run(compared(deployed, lambda: cluster.remove_node(lost, allow_graceful=False)))

    assert disturbed == undisturbed
    clusters.add_node(cluster)  # for the tests that follow


def test_no_request_fails_while_a_model_is_updated(deployed: Deployed) -> None:
    before = clusters.replicas_below(None, "engine")
    changed = replace(deployed.config, engine=replace(deployed.config.engine, max_num_seqs=7))

    lengths = asyncio.run(asked_during(deployed, lambda: deployed.update(changed)))

    assert set(lengths) == {LENGTH}
    assert not set(before) & set(clusters.replicas_below(None, "engine"))


def test_a_killed_ingress_leaves_no_row_twice_and_none_out(deployed: Deployed, url: str) -> None:
    config = deployed.config
    accounts, two = AccountingConfig(url=url, ledger=True), replace(config.scaleout, num_ingresses=2)
    deployed.update(replace(config, accounting=accounts, scaleout=two))

    answered, num_broken = asyncio.run(asked_again(deployed))

    assert num_broken > 0
    assert rows(url) == Counter(answered)


async def compared(deployed: Deployed, harm: Callable[[], object]) -> tuple[list[str], list[str]]:
    """The texts of the same streams without and with harm done while they run."""
    async with deployed.client() as client:
        await ready(client)
        undisturbed = await asyncio.gather(*(text(client, seed, lambda: None) for seed in range(NUM_STREAMS)))
        started = Started()
        streams = [asyncio.create_task(text(client, seed, started.count)) for seed in range(NUM_STREAMS)]
        await started.event.wait()
        await asyncio.to_thread(harm)
        return undisturbed, await asyncio.gather(*streams)


async def asked_during(deployed: Deployed, update: Callable[[], object]) -> list[int]:
    """Tokens of each answer of four clients that ask again and again while the update runs."""
    lengths: list[int] = []

    async def ask(client: httpx.AsyncClient, updating: asyncio.Future[object]) -> None:
        while not updating.done():
            answer = await client.post("/v1/completions", json={**BODY, "prompt": [1, 40, 50]})
            assert answer.status_code == 200, answer.text
            lengths.append(answer.json()["usage"]["completion_tokens"])

    async with deployed.client() as client:
        await ready(client)
        updating = asyncio.ensure_future(asyncio.to_thread(update))
        await asyncio.gather(updating, *(ask(client, updating) for _ in range(4)))
    return lengths


async def asked_again(deployed: Deployed) -> tuple[list[str], int]:
    """Requests that got all of their answer, though an ingress was killed; and how many answers broke off."""
    num_broken = 0

    async def ask(client: httpx.AsyncClient, seed: int, on_token: Callable[[], None]) -> str:
        nonlocal num_broken
        while not (chunks := await whole(client, seed, on_token)):
            num_broken += 1
            await asyncio.sleep(0.2)
        return str(chunks[0]["id"]).rpartition("-")[2]

    async with deployed.client() as client:
        await ready(client)
        earlier = await asyncio.gather(*(ask(client, seed, lambda: None) for seed in range(NUM_STREAMS)))
        await asyncio.sleep(WRITTEN_S)
        started = Started()
        asked = [asyncio.create_task(ask(client, seed, started.count)) for seed in range(NUM_STREAMS)]
        await started.event.wait()
        num_broken = 0
        clusters.kill(clusters.busiest(clusters.replicas_below(None, "ingress")))
        later = await asyncio.gather(*asked)
        await asyncio.sleep(WRITTEN_S)
        return [*earlier, *later], num_broken


class Started:
    """Set when some tokens of the streams have come."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._num_tokens = 0

    def count(self) -> None:
        self._num_tokens += 1
        if self._num_tokens == STARTED:
            self.event.set()


def rows(url: str) -> Counter[str]:
    """How often the ledger has each request that ended."""
    import psycopg

    with psycopg.connect(url) as connection:
        return Counter(
            request for (request,) in connection.execute("SELECT request_id FROM ledger WHERE status = 'finished'")
        )


BODY = {"model": "tiny", "max_tokens": LENGTH, "ignore_eos": True}


async def text(client: httpx.AsyncClient, seed: int, on_token: Callable[[], None]) -> str:
    """A streamed answer, drawn by its seed, or greedy."""
    parts = []
    async for chunk in stream(client, seed):
        [choice] = chunk["choices"]
        parts.append(choice["text"])
        on_token()
    assert choice["finish_reason"] == "length"
    return "".join(parts)


async def whole(client: httpx.AsyncClient, seed: int, on_token: Callable[[], None]) -> list[dict[str, Any]]:
    """A streamed answer; nothing of one that broke off."""
    chunks = []
    try:
        async for chunk in stream(client, seed):
            chunks.append(chunk)
            on_token()
    except httpx.HTTPError:
        return []
    return chunks if chunks and chunks[-1]["choices"][0]["finish_reason"] else []


async def stream(client: httpx.AsyncClient, seed: int) -> AsyncIterator[dict[str, Any]]:
    body = {**BODY, "prompt": [1, 40 + seed, 50], "stream": True, "temperature": seed % 2, "seed": seed}
    async with client.stream("POST", "/v1/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))


async def ready(client: httpx.AsyncClient) -> None:
    for _ in range(600):
        if (await client.get("/readyz")).status_code == 200:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it never gets ready")
