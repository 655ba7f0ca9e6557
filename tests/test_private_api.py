"""The private parts of libraries that Foveal uses. Each library has an upper bound in pyproject.toml for this reason.

To raise a bound: install the new version, run this file, then `make test`. A test that fails names what is gone.
"""

from __future__ import annotations

import asyncio
import inspect
import tomllib
from copy import deepcopy
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch
import uvicorn
from tokenizers.pre_tokenizers import Digits, Metaspace, Sequence
from torch.nn.functional import scaled_dot_product_attention
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Receive, Scope, Send

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.mark.parametrize("library", ["tokenizers", "torch", "uvicorn"])
def test_a_library_whose_private_parts_are_used_has_an_upper_bound(library: str) -> None:
    requirements: list[str] = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["dependencies"]
    (requirement,) = (one for one in requirements if one.startswith(library))
    assert ",<" in requirement, f"{requirement!r} admits versions of {library} that nobody has tried"


# --- uvicorn: the protocol that foveal.http.connection.BoundedHttp extends --------------------------------------------

METHODS = {
    "connection_made": ["self", "transport"],
    "connection_lost": ["self", "exc"],
    "_unset_keepalive_if_required": ["self"],
    "on_message_complete": ["self"],
    "pause_writing": ["self"],
    "resume_writing": ["self"],
    "on_message_begin": ["self"],
    "on_header": ["self", "name", "value"],
    "on_headers_complete": ["self"],
    "send_400_response": ["self", "msg"],
    "timeout_keep_alive_handler": ["self"],
}


@pytest.mark.parametrize("name", METHODS)
def test_uvicorns_protocol_has_the_methods_that_ours_extends_or_calls(name: str) -> None:
    method = getattr(HttpToolsProtocol, name, None)
    assert method, f"uvicorn {version('uvicorn')} has no HttpToolsProtocol.{name}; foveal.http.connection needs it"
    assert list(inspect.signature(method).parameters) == METHODS[name]


def test_uvicorns_protocol_has_the_attributes_that_ours_reads() -> None:
    async def attributes() -> set[str]:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            raise NotImplementedError

        return set(vars(HttpToolsProtocol(uvicorn.Config(app), ServerState(), {})))

    missing = {"app", "client", "cycle", "headers", "loop", "parser", "scope", "transport"} - asyncio.run(attributes())
    assert not missing, (
        f"HttpToolsProtocol of uvicorn {version('uvicorn')} lacks {missing}; foveal.http.connection reads it"
    )


def test_uvicorns_server_leaves_signals_to_a_method_that_ours_replaces() -> None:
    name = "capture_signals"
    method = getattr(uvicorn.Server, name, None)
    assert method, f"uvicorn {version('uvicorn')} has no Server.{name}: it would take the signals that foveal handles"
    assert list(inspect.signature(method).parameters) == ["self"]


# --- tokenizers: the steps of a pre-tokenizer, which foveal.conversation.tokenizer changes in a copy ------------------


def test_steps_of_a_copied_pre_tokenizer_are_its_own_and_can_be_changed() -> None:
    """In tokenizers 0.21.0 the copy held itself, without end."""
    original = Sequence([Metaspace(prepend_scheme="first"), Digits()])
    copied = deepcopy(original)
    assert isinstance(copied, Sequence)
    assert [type(step) for step in islice(cast("Iterable[object]", copied), 3)] == [Metaspace, Digits]
    next(iter(cast("Iterable[Metaspace]", copied))).prepend_scheme = "never"
    assert [one.pre_tokenize_str("a")[0][0] for one in (original, copied)] == ["▁a", "a"]


# --- torch: attention that also returns its log-sum-exp, which foveal.layers.attention merges runs of blocks with -----

OPERATION = "_scaled_dot_product_flash_attention_for_cpu"


def test_torchs_attention_for_cpu_takes_what_ours_gives_it() -> None:
    operation = getattr(torch.ops.aten, OPERATION, None)
    assert operation, f"torch {torch.__version__} has no aten::{OPERATION}; foveal.layers.attention needs it"
    schema = operation.default._schema
    names = [argument.name for argument in schema.arguments]
    assert names == ["query", "key", "value", "dropout_p", "is_causal", "attn_mask", "scale"]
    assert [output.name for output in schema.returns] == ["output", "logsumexp"]


@pytest.mark.parametrize("is_causal", [True, False])
def test_torchs_attention_for_cpu_returns_the_output_and_its_log_sum_exp(is_causal: bool) -> None:
    chance = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(1, 2, 5, 8, generator=chance) for _ in range(3))
    mask = torch.full((5, 5), float("-inf")).triu(1) if is_causal else torch.zeros(5, 5)

    output, logsumexp = getattr(torch.ops.aten, OPERATION)(query, key, value, is_causal=is_causal, scale=0.5)

    torch.testing.assert_close(output, scaled_dot_product_attention(query, key, value, mask, scale=0.5))
    torch.testing.assert_close(logsumexp, (query @ key.mT * 0.5 + mask).logsumexp(-1))
