"""The server on a real socket: clients that leave, bodies and heads that are too large, addresses that are too open."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import httpx
import pytest

from foveal.accounting.accounting import Accounting
from foveal.config import HttpConfig
from foveal.errors import ConfigError
from foveal.http import connection as connection_module
from foveal.http.connection import MAX_HEAD_BYTES, MAX_NUM_HEADERS
from foveal.http.listener import check_port, listen
from foveal.http.server import create_server
from foveal.types import Delta
from tests.fakes import FakePipeline
from tests.http.client import ASK, accounting_for, app_for
from tests.http.server import Served, post_bytes, serving, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = HttpConfig(max_body_bytes=1000)
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(FakePipeline(), SMALL) as found:
        yield found


# --- clients that leave -----------------------------------------------------------------------------------------------


def test_a_client_that_leaves_a_stream_ends_the_generation() -> None:
    pipeline = FakePipeline([Delta(0, "Hel"), None])
    with serving(pipeline) as served, served.connect() as connection:
        connection.sendall(post_bytes("/v1/chat/completions", ASK | {"stream": True}))
        received = b""
        while b'"Hel"' not in received:
            received += connection.recv(1 << 16)
        assert pipeline.num_running == 1
        connection.close()
        wait_until(lambda: pipeline.num_running == 0)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_before_the_first_token_ends_the_generation(stream: bool) -> None:
    pipeline = FakePipeline([None])
    with serving(pipeline) as served, served.connect() as connection:
        connection.sendall(post_bytes("/v1/chat/completions", ASK | {"stream": stream}))
        wait_until(lambda: pipeline.num_running == 1)
        connection.close()
        wait_until(lambda: pipeline.num_running == 0)


def test_a_client_that_leaves_one_prompt_of_several_ends_them_all() -> None:
    pipeline = FakePipeline([None])
    with serving(pipeline) as served, served.connect() as connection:
        body = {"model": "foveal-mini", "prompt": ["a", "b", "c"]}
        connection.sendall(post_bytes("/v1/completions", body))
        wait_until(lambda: pipeline.num_running == 3)
        connection.close()
        wait_until(lambda: pipeline.num_running == 0)


def test_a_client_that_leaves_while_it_sends_its_body_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = FakePipeline()
    with serving(pipeline) as served:
        with served.connect() as connection:
            connection.sendall(post_bytes("/v1/chat/completions", ASK)[:-5])
        assert httpx.get(f"{served.url}/healthz").status_code == 200
    assert pipeline.requests == []
    assert "Traceback" not in caplog.text


def test_the_end_of_the_server_ends_the_generations() -> None:
    pipeline = FakePipeline([Delta(0, "Hel"), None])
    with serving(pipeline) as served:
        connection = served.connect()
        connection.sendall(post_bytes("/v1/chat/completions", ASK | {"stream": True}))
        wait_until(lambda: pipeline.num_running == 1)
    connection.close()
    assert pipeline.num_running == 0


# --- events over the wire ---------------------------------------------------------------------------------------------


def test_events_arrive_as_they_are_made(served: Served) -> None:
    with httpx.stream("POST", f"{served.url}/v1/chat/completions", json=ASK | {"stream": True}) as response:
        lines = list(response.iter_lines())
    assert response.headers["content-type"] == "text/event-stream"
    assert "server" not in response.headers
    assert all(line == "" or line.startswith("data: ") for line in lines)
    assert lines[-2] == "data: [DONE]"


def test_a_connection_is_used_again_after_an_error(served: Served) -> None:
    with httpx.Client(base_url=served.url) as client:
        statuses = [
            client.post("/v1/chat/completions", json=body).status_code for body in ({}, ASK, ASK | {"x": 1}, ASK)
        ]
    assert statuses == [400, 200, 400, 200]


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_a_stated_length_over_the_limit_is_refused_before_the_body_is_sent(served: Served) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    answer = served.send(head + b"content-length: 1001\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_in_chunks_is_read_no_further_than_the_limit(served: Served) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    chunk = b"64\r\n" + b" " * 100 + b"\r\n"
    answer = served.send(head + b"transfer-encoding: chunked\r\n\r\n" + chunk * 11)  # and no last chunk
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_at_the_limit_is_taken(served: Served) -> None:
    body = {"model": "foveal-mini", "prompt": ""}
    spare = SMALL.max_body_bytes - len(post_bytes("", body).partition(b"\r\n\r\n")[2])
    assert httpx.post(f"{served.url}/v1/completions", content=_padded(body, spare), headers=JSON).status_code == 200
    assert httpx.post(f"{served.url}/v1/completions", content=_padded(body, spare + 1), headers=JSON).status_code == 413


def _padded(body: dict[str, str], spare: int) -> bytes:
    return post_bytes("", body | {"prompt": "x" * spare}).partition(b"\r\n\r\n")[2]


# --- heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * MAX_HEAD_BYTES * 40,
        b"GET /" + b"x" * MAX_HEAD_BYTES * 40,
        b"GET /healthz HTTP/1.1\r\n" + b"x: y\r\n" * (MAX_NUM_HEADERS + 1) + b"\r\n",
        b"no http at all\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_a_head_that_is_none_or_too_large_is_a_400(served: Served, head: bytes) -> None:
    with served.connect() as connection, contextlib.suppress(ConnectionError):  # it may hang up on us in mid-sentence
        connection.sendall(head)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 400 ")
    assert httpx.get(f"{served.url}/healthz").status_code == 200


def test_a_head_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "HEAD_TIMEOUT_S", 0.5)
    with serving(FakePipeline()) as served:
        for beginning in (b"", b"GET /healthz HTTP/1.1\r\nhost: local"):
            assert served.send(beginning) == b""


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "vlm.example", ""])
def test_without_keys_it_listens_to_this_machine_only(host: str) -> None:
    with pytest.raises(ConfigError, match="there is no API key"):
        create_server(app_for(FakePipeline(), HttpConfig(), Accounting()), HttpConfig(host=host), Accounting())


@pytest.mark.parametrize(
    "config", [HttpConfig(), HttpConfig(host="::1"), HttpConfig(host="0.0.0.0", api_keys=("key",))], ids=str
)
def test_with_keys_it_listens_anywhere(config: HttpConfig) -> None:
    accounting = accounting_for(config)
    assert create_server(app_for(FakePipeline(), config, accounting), config, accounting).config.host == config.host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_port_0_listens_on_a_free_port(host: str) -> None:
    with listen(HttpConfig(host=host, port=0)) as listener:
        assert listener.getsockname()[1] > 0


def test_a_port_that_is_taken_is_a_config_error() -> None:
    with listen(HttpConfig(port=0)) as listener, pytest.raises(ConfigError, match="is taken"):
        listen(HttpConfig(port=listener.getsockname()[1]))


def test_a_port_is_checked_and_not_kept() -> None:
    with listen(HttpConfig(port=0)) as listener:
        config = HttpConfig(port=listener.getsockname()[1])
        with pytest.raises(ConfigError, match="is taken"):
            check_port(config)
    check_port(config)
    listen(config).close()


def test_an_address_that_is_not_here_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="cannot listen on 203"):
        listen(HttpConfig(host="203.0.113.1", port=0))
