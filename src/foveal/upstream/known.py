"""What servers take beyond OpenAI's chat API, and what they call it. Tables; nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Dialect = Literal["openai", "vllm", "llama-server", "transformers"]
Fields = Mapping[str, object]

OPENAI_SAMPLING = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}


@dataclass(frozen=True, slots=True)
class Known:
    """One kind of server."""

    sampling: Mapping[str, str]  # a field of `SamplingParams` and its name there; each of them is always sent
    always: Fields = field(default_factory=dict)  # sent with every request
    stream_options: Fields = field(default_factory=lambda: {"include_usage": True})
    grammar: Callable[[str], Fields] | None = None  # text of a grammar -> what is sent; None: it takes none
    mirostat: Callable[[float, float], Fields] | None = None  # target and learning rate -> what is sent
    salt: Callable[[bytes], Fields] | None = None  # salt of a prompt's caches -> what is sent
    no_cache: Fields | None = None  # what is sent where nothing may come from a cache, without a salt
    lacks: frozenset[str] = frozenset()  # fields of OpenAI's that it passes over
    counting: Literal["of chats", "of texts"] | None = None  # what its route /tokenize takes; None: it has none
    continues: Fields | None = None  # sent where the answer goes on from the last message; None: it cannot
    has_template_options: bool = False
    has_reasoning: bool = False  # messages of the assistant may have some
    top_k_off: int = 0  # the top_k that cuts off nothing


KNOWN: Mapping[Dialect, Known] = {
    "openai": Known(OPENAI_SAMPLING),
    "vllm": Known(  # and SGLang, but for its salt and its grammars
        OPENAI_SAMPLING
        | {
            "top_k": "top_k",
            "min_p": "min_p",
            "repetition_penalty": "repetition_penalty",
            "min_tokens": "min_tokens",
            "ignore_eos": "ignore_eos",
        },
        stream_options={"include_usage": True, "continuous_usage_stats": True},
        grammar=lambda text: {"structured_outputs": {"grammar": text}},
        salt=lambda salt: {"cache_salt": salt.hex()},
        counting="of chats",
        continues={"continue_final_message": True, "add_generation_prompt": False},
        has_template_options=True,
        has_reasoning=True,
        top_k_off=-1,
    ),
    "llama-server": Known(
        OPENAI_SAMPLING
        | {
            "top_k": "top_k",
            "min_p": "min_p",
            "typical_p": "typical_p",
            "repetition_penalty": "repeat_penalty",
            "ignore_eos": "ignore_eos",
        },
        always={"timings_per_token": True},
        grammar=lambda text: {"grammar": text},
        mirostat=lambda target, rate: {"mirostat": 2, "mirostat_tau": target, "mirostat_eta": rate},
        no_cache={"cache_prompt": False},
        counting="of texts",
        continues={},  # as it does anyway
        has_template_options=True,
        has_reasoning=True,
    ),
    "transformers": Known(  # transformers serve; what else it samples by is the checkpoint's
        {"max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p"},
        always={"frequency_penalty": 0.0},  # it takes another one for a repetition penalty
        lacks=frozenset(
            {"n", "logprobs", "response_format", "tool_choice", "parallel_tool_calls", "reasoning_effort", "token_ids"}
        ),
        has_template_options=True,
    ),
}
