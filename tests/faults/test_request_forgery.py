"""No URL makes the server fetch from inside its own network, however the address is spelt or reached."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from foveal.config import ImageConfig
from foveal.errors import ImageError
from foveal.media.fetch import Fetcher
from foveal.media.resolve import Resolver
from foveal.media.source import parse_url
from tests.media.builders import image_loader, png, refs
from tests.media.host import Page, redirect, serving
from tests.media.silent import SILENT

LOOPBACK = [
    "127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001",
    "0177.0.0.1", "0", "0.0.0.0", "localhost", "localhost.", "LOCALHOST", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::1%25lo]",
    "127.0.0.1.", "%31%32%37.0.0.1", "127.0.0.1%2f", "127\u30020\u30020\u30021", "\uff11\uff12\uff17.0.0.1",
]  # fmt: skip
ELSEWHERE = [
    "http://10.0.0.1/", "http://192.168.1.1/", "http://172.16.0.1/", "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/", "http://168.63.129.16/", "http://192.0.0.192/opc/v2/",
    "http://100.100.100.200/", "http://[fd00:ec2::254]/", "http://[fe80::1]/", "http://[fec0::1]/", "http://[ff02::1]/",
    "http://224.0.0.1/", "http://255.255.255.255/", "http://198.18.0.1/", "http://93.184.216.34:22/",
    "http://user:password@93.184.216.34/", "https://93.184.216.34:8443/", "ftp://93.184.216.34/", "file:///etc/passwd",
    "dict://127.0.0.1:11211/", "unix:/run/docker.sock", "\\\\10.0.0.1\\share",
]  # fmt: skip


def refusal(source: str, **settings: Any) -> str:
    """What a client who names `source` is told."""

    async def request() -> None:
        closed: dict[str, Any] = {"allowed_hosts": ()}
        async with image_loader(**closed | settings) as bench, bench.loader.load(refs(source)):
            pass

    with pytest.raises(ImageError) as refused:
        asyncio.run(request())
    assert refused.value.status == 400
    return str(refused.value)


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_in_every_spelling(host: str) -> None:
    async def attempt() -> tuple[str, list[str]]:
        async with serving({"/": Page(png())}) as inside:
            url = f"http://{host}:{inside.port}/"
            return await asyncio.to_thread(refusal, url, allowed_ports=(80, inside.port)), inside.requests

    sentence, requests = asyncio.run(attempt())

    assert requests == []
    assert sentence.removeprefix("image 1: ").startswith(
        ("this address is not allowed", "the URL cannot be read", "the server did not answer")
    )
    assert "127" not in sentence


@pytest.mark.parametrize("url", ELSEWHERE)
def test_other_places_inside(url: str) -> None:
    assert refusal(url).startswith(("image 1: this address is not allowed", "image 1: neither a URL nor"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_redirects_lead_nowhere_else(host: str) -> None:
    async def attempt() -> tuple[str, list[str]]:
        async with serving({"/secret.png": Page(png())}) as inside:
            location = f"http://{host}:{inside.port}/secret.png"
            async with serving({"/a.png": redirect(location)}) as outside:
                url, opened = outside.url("/a.png"), (f"127.0.0.1:{outside.port}",)
                return await asyncio.to_thread(refusal, url, allowed_hosts=opened), inside.requests

    sentence, requests = asyncio.run(attempt())

    assert sentence == "image 1: this address is not allowed"
    assert requests == []


def test_a_caller_who_names_silent_hosts_and_slow_ones_delays_nobody_else() -> None:
    """Counted, not timed: the bystander has its pictures while every picture of the attacker is still awaited."""

    async def attack() -> tuple[list[bool], bytes]:
        pages = {f"/slow-{i}": Page(png(), delay_s=3600) for i in range(100)} | {"/a.png": Page(b"picture")}
        config = ImageConfig(fetch_timeout_s=3600, allowed_hosts=("127.0.0.1", "localhost"))
        async with serving(pages) as host:
            names = Resolver(SILENT)
            fetcher = Fetcher(config, names)
            silent = [f"http://silent-{i}.test/" for i in range(100)]
            slow = [host.url(f"/slow-{i}") for i in range(100)]
            attacks = [asyncio.create_task(fetcher.fetch(parse_url(url), "attacker")) for url in (*silent, *slow)]
            await asyncio.sleep(0)
            download = await fetcher.fetch(parse_url(host.url("/a.png", "localhost")), "bystander")
            done = [attack.done() for attack in attacks]
            for task in attacks:
                task.cancel()
            await asyncio.gather(*attacks, return_exceptions=True)
            await fetcher.close()
            await names.close()
            return done, download.body

    done, body = asyncio.run(attack())

    assert body == b"picture"
    assert done == [False] * 200
