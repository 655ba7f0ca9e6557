"""GET /metrics: read as Prometheus reads it."""

from __future__ import annotations

from dataclasses import replace
from resource import RUSAGE_SELF, getrusage
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from foveal.accounting.accounting import Accounting
from foveal.accounting.keys import digest_of
from foveal.config import HttpConfig
from foveal.types import Caller, EngineInfo, EngineStats
from tests.accounting.builders import admitted, key, outcome, with_keys
from tests.fakes import FakePipeline
from tests.http.client import ASK, app_for, call, error, send

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

Samples = dict[tuple[str, tuple[str, ...]], float]


class StillEngine:
    """An engine that only tells how it is."""

    info = EngineInfo("m", "cpu", "float32", 10, 10, 16, num_blocks=100, kv_cache_bytes=1)
    stats = EngineStats(3, 2, 40, 7, 1, 99)
    num_restarts = 4
    num_tokens = 77
    is_ready = True


class DeadEngine(StillEngine):
    is_ready = False


def samples(response: httpx.Response) -> Samples:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(response.text)
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def test_requests_are_counted_by_route_and_status() -> None:
    app = app_for(FakePipeline(), HttpConfig(), Accounting())
    for path in ("/v1/models", "/v1/models", "/inference/v1/models", "/no/such/path", "/v1/models/unknown"):
        send(app, "GET", path)
    send(app, "POST", "/v1/chat/completions", json=ASK)
    found = samples(send(app, "GET", "/metrics"))
    counted = {labels: value for (name, labels), value in found.items() if name == "foveal_http_requests_total"}
    assert counted == {
        ("/models", "200"): 3,
        ("none", "404"): 1,
        ("/models/{model:path}", "404"): 1,
        ("/chat/completions", "200"): 1,
    }


def test_no_client_makes_up_a_label() -> None:
    app = app_for(FakePipeline(), HttpConfig(), Accounting())

    def num_series() -> int:
        return len(samples(send(app, "GET", "/metrics")))

    num_before = num_series()
    for number in range(50):
        send(app, "GET", f"/v1/models/made-up-{number}")
        send(app, "GET", f"/made-up-{number}")
        send(app, f"X{number}", "/v1/models")
        send(app, "POST", "/v1/chat/completions", json=ASK | {"model": f"made-up-{number}"})
    assert num_series() - num_before <= 5
    assert "made-up" not in send(app, "GET", "/metrics").text


def test_answers_are_counted_with_their_tokens_and_times() -> None:
    accounting = Accounting()
    for taken in (outcome(10, 5, cached=3), outcome(20, 1, status="failed", first_s=30.0)):
        with admitted(accounting, Caller(), "m") as bill:
            bill.count(taken)
    found = samples(send(app_for(FakePipeline(), HttpConfig(), accounting), "GET", "/metrics"))
    assert found["foveal_answers_total", ("finished",)] == 1
    assert found["foveal_answers_total", ("failed",)] == 1
    assert found["foveal_answers_total", ("aborted",)] == 0
    assert found["foveal_prompt_tokens_total", ()] == 30
    assert found["foveal_cached_prompt_tokens_total", ()] == 3
    assert found["foveal_completion_tokens_total", ()] == 6
    assert found["foveal_time_to_first_token_seconds_bucket", ("0.2",)] == 0
    assert found["foveal_time_to_first_token_seconds_bucket", ("0.5",)] == 1
    assert found["foveal_time_to_first_token_seconds_bucket", ("+Inf",)] == 2
    assert found["foveal_time_to_first_token_seconds_count", ()] == 2
    assert found["foveal_time_to_first_token_seconds_sum", ()] == 30.5
    assert found["foveal_time_per_output_token_seconds_sum", ()] == 0.5


def test_the_engine_tells_how_it_is() -> None:
    found = samples(call("GET", "/metrics", FakePipeline(engine=StillEngine())))  # type: ignore[arg-type]
    names = ("running_sequences", "waiting_sequences", "kv_blocks", "kv_blocks_used", "kv_blocks_idle")
    assert [found[f"foveal_{name}", ()] for name in names] == [3, 2, 100, 40, 7]
    counted = ("preemptions", "encoded_crops", "engine_restarts", "generated_tokens")
    assert [found[f"foveal_{name}_total", ()] for name in counted] == [1, 99, 4, 77]


@pytest.mark.parametrize(
    ("pipeline", "is_ready"),
    [
        (FakePipeline(engine=StillEngine()), 1),  # type: ignore[arg-type]
        (FakePipeline(engine=DeadEngine()), 0),  # type: ignore[arg-type]
        (FakePipeline(is_ready=False), 0),
    ],
)
def test_whether_the_model_can_be_asked(pipeline: FakePipeline, is_ready: int) -> None:
    assert samples(call("GET", "/metrics", pipeline))["foveal_ready", ()] == is_ready


def test_the_servers_own_memory_is_told() -> None:
    resident = samples(call("GET", "/metrics"))["foveal_resident_bytes", ("server",)]
    largest = getrusage(RUSAGE_SELF).ru_maxrss * 1024  # ever
    assert largest / 8 < resident < largest * 1.5


def test_while_the_model_loads_there_is_no_engine_to_tell_of() -> None:
    assert ("foveal_running_sequences", ()) not in samples(call("GET", "/metrics"))


@pytest.mark.parametrize(("name", "status"), [("caller", 403), ("operator", 200), ("unknown", 401)])
def test_with_keys_it_is_for_the_operator(tmp_path: Path, name: str, status: int) -> None:
    secrets = {"caller": "fvl-caller-x", "operator": "fvl-operator-x", "unknown": "fvl-unknown-x"}
    caller = key("caller", digest=digest_of(secrets["caller"].encode()))
    operator = replace(key("operator", digest=digest_of(secrets["operator"].encode())), is_operator=True)
    app = app_for(FakePipeline(), HttpConfig(), Accounting(open_books=with_keys(tmp_path, caller, operator)))
    response = send(app, "GET", "/metrics", headers={"authorization": f"Bearer {secrets[name]}"})
    assert response.status_code == status
    if status == 403:
        assert error(response)["code"] == "FORBIDDEN"


def test_keys_of_the_configuration_are_the_operators() -> None:
    config = HttpConfig(api_keys=("mine",))
    assert call("GET", "/metrics", config=config, headers={"authorization": "Bearer mine"}).status_code == 200
    assert call("GET", "/metrics", config=config).status_code == 401


def test_an_engine_that_is_away_has_counters_and_no_gauges() -> None:
    found = samples(call("GET", "/metrics", FakePipeline(engine=DeadEngine())))  # type: ignore[arg-type]
    names = {name for name, _ in found}

    assert "foveal_engine_restarts_total" in names
    assert not names & {"foveal_running_sequences", "foveal_waiting_sequences", "foveal_kv_blocks_used"}
