"""Clients that hold a connection instead of using it: every phase ends, and others are answered meanwhile."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from http.client import HTTPResponse
from itertools import repeat
from typing import TYPE_CHECKING, cast

import httpx
import pytest

from foveal.config import HttpConfig
from foveal.http import connection
from foveal.http.middleware import body_limit
from foveal.types import Delta
from tests.fakes import FakePipeline
from tests.http.client import ASK
from tests.http.server import Served, post_bytes, read_all, serving, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHAT = "/v1/chat/completions"
SOON_S = 0.3
HEAD = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n".encode()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines that a test can wait for."""
    for module, name in (
        (connection, "HEAD_TIMEOUT_S"),
        (connection, "SEND_TIMEOUT_S"),
        (connection, "LINGER_S"),
        (body_limit, "WINDOW_S"),
    ):
        monkeypatch.setattr(module, name, SOON_S)


def drip(peer: socket.socket, data: bytes) -> None:
    """Sends until the server ends the connection."""
    deadline_s = time.monotonic() + 60
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline_s:
            peer.sendall(data)
            time.sleep(0.01)
        raise TimeoutError


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("header", ["authorization: Bearer wrong", "content-length: 99999999", "content-type: a/b"])
def test_a_refused_request_whose_body_drips_loses_its_connection(header: str) -> None:
    config = HttpConfig(api_keys=("right",))
    with serving(FakePipeline(), config) as served, served.connect() as peer:
        peer.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n{header}\r\ntransfer-encoding: chunked\r\n".encode())
        if "length" in header:
            peer.sendall(b"authorization: Bearer right\r\n")
        peer.sendall(b"\r\n")
        answer = peer.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 4")
        assert b"connection: close" in answer
        drip(peer, b"1\r\nx\r\n")


@pytest.mark.usefixtures("hurried")
def test_a_body_that_drips_is_refused() -> None:
    pipeline = FakePipeline()
    with serving(pipeline) as served, served.connect() as peer:
        peer.sendall(HEAD + b"content-length: 1000000\r\n\r\n")
        drip(peer, b" ")
        with contextlib.suppress(ConnectionError):
            assert b"did not arrive in time" in read_all(peer)
    assert pipeline.requests == []


@pytest.mark.usefixtures("hurried")
def test_line_breaks_between_requests_do_not_keep_a_connection() -> None:
    with serving(FakePipeline()) as served, served.connect() as peer:
        peer.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"alive" in peer.recv(1 << 16)
        drip(peer, b"\r\n")


def test_a_client_that_still_writes_can_read_why_its_body_is_too_large() -> None:
    with serving(FakePipeline(), HttpConfig(max_body_bytes=1000)) as served, served.connect() as peer:
        peer.sendall(HEAD + b"content-length: 20000000\r\n\r\n" + b" " * 20_000_000)
        answer = read_all(peer)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"over 1000 bytes" in answer


def test_a_body_that_was_read_keeps_its_connection_after_an_error() -> None:
    with serving(FakePipeline()) as served, served.connect() as peer:
        for _ in range(3):
            peer.sendall(post_bytes(CHAT, {"model": "other"}))
            answer = peer.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"connection: close" not in answer


# --- bodies in flight -------------------------------------------------------------------------------------------------


def test_half_sent_bodies_of_one_key_leave_room_for_others() -> None:
    """The attacker's share is one body; four more wait. The bystander's large body is read at once."""
    config = HttpConfig(api_keys=("a", "b"), max_body_bytes_in_flight=400_000, max_body_bytes=200_000)
    pipeline = FakePipeline()
    large = {**ASK, "messages": [{"role": "user", "content": "x" * 190_000}]}
    with serving(pipeline, config) as served, contextlib.ExitStack() as open_:
        for _ in range(5):
            peer = open_.enter_context(served.connect())
            peer.sendall(post_bytes(CHAT, large, "authorization: Bearer a")[:-1])
        answer = httpx.post(served.url + CHAT, json=large, headers={"authorization": "Bearer b"}, timeout=60)
        assert answer.status_code == 200
        assert len(pipeline.requests) == 1


def test_bodies_that_wait_for_room_are_answered_in_the_end() -> None:
    config = HttpConfig(max_body_bytes_in_flight=400_000, max_body_bytes=200_000)
    whole = post_bytes(CHAT, {**ASK, "messages": [{"role": "user", "content": "x" * 190_000}]}, "connection: close")
    with serving(FakePipeline(), config) as served, contextlib.ExitStack() as open_:
        peers = [open_.enter_context(served.connect()) for _ in range(5)]
        for peer in peers:
            peer.sendall(whole[:-1])
        for peer in peers:
            peer.sendall(whole[-1:])
        assert [read_all(peer)[:13] for peer in peers] == [b"HTTP/1.1 200 "] * 5


# --- responses --------------------------------------------------------------------------------------------------------


def endless() -> Sequence[Delta]:
    return cast("Sequence[Delta]", repeat(Delta(0, "x" * 1000)))


@pytest.mark.usefixtures("hurried")
def test_a_client_that_does_not_read_its_stream_ends_the_generation() -> None:
    pipeline = FakePipeline(endless())
    with serving(pipeline) as served, served.connect() as peer:
        peer.sendall(post_bytes(CHAT, ASK | {"stream": True}))
        wait_until(lambda: pipeline.num_running == 1)
        wait_until(lambda: pipeline.num_running == 0)


def test_a_client_that_reads_slowly_keeps_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads for longer than one who does not read is given."""
    monkeypatch.setattr(connection, "SEND_TIMEOUT_S", 2.0)  # no busy machine stops this test for so long
    pipeline = FakePipeline(endless())
    with serving(pipeline) as served, served.connect() as peer:
        peer.sendall(post_bytes(CHAT, ASK | {"stream": True}))
        ends_s = time.monotonic() + 3.0
        while time.monotonic() < ends_s:
            assert peer.recv(1 << 16)
            time.sleep(0.01)
        assert pipeline.num_running == 1


# --- connections ------------------------------------------------------------------------------------------------------


def is_served(served: Served) -> bool:
    with served.connect() as peer:
        peer.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        try:
            return read_all(peer).startswith(b"HTTP/1.1 200 ")
        except ConnectionError:
            return False


@pytest.mark.parametrize(
    "config", [HttpConfig(max_connections_per_address=3, trusted_proxies=()), HttpConfig(max_connections=3)]
)
def test_connections_beyond_a_share_are_refused_until_others_end(config: HttpConfig) -> None:
    with serving(FakePipeline(), config) as served:
        peers = [served.connect() for _ in range(3)]
        wait_until(lambda: not is_served(served))
        peers.pop().close()
        wait_until(lambda: is_served(served))
        for peer in peers:
            peer.close()


def test_a_trusted_proxy_has_no_share() -> None:
    with serving(FakePipeline(), HttpConfig(max_connections_per_address=1)) as served:
        peers = [served.connect() for _ in range(5)]
        assert is_served(served)
        for peer in peers:
            peer.close()


# --- offers to upgrade ------------------------------------------------------------------------------------------------


def arrivals(data: bytes) -> Iterator[list[bytes]]:
    end = data.index(b"\r\n\r\n") + 4
    yield [data]
    yield [data[:end], data[end:]]
    yield [data[:20], data[20 : end + 5], data[end + 5 :]]


@pytest.mark.parametrize("offer", ["h2c", "TLS/1.2", "websocket", "h2c, websocket"])
def test_an_offer_to_upgrade_is_ignored_and_the_body_is_read(offer: str) -> None:
    """RFC 9110 section 7.8. Java's HttpClient offers h2c with every request by default."""
    offered = (f"upgrade: {offer}", "connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk")
    whole = post_bytes(CHAT, ASK, *offered)
    with serving(FakePipeline()) as served:
        for pieces in arrivals(whole):
            with served.connect() as peer:
                for _ in range(2):  # and the connection goes on
                    for piece in pieces:
                        peer.sendall(piece)
                        time.sleep(0.01)
                    answer = HTTPResponse(peer)  # which may come in several pieces
                    answer.begin()
                    assert answer.status == 200
                    assert json.loads(answer.read())["choices"][0]["message"]["content"] == "Hello"


def test_connect_is_refused() -> None:
    with serving(FakePipeline()) as served:
        assert served.send(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n").startswith(
            b"HTTP/1.1 400 "
        )
