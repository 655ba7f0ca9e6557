"""What another server cannot do is refused by name, before anything is fetched or sent. Pure functions."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from foveal.errors import InvalidRequest
from foveal.types import ChatRequest, SamplingParams
from foveal.upstream.known import KNOWN

if TYPE_CHECKING:
    from foveal.types import CompletionRequest, GenerationOptions
    from foveal.upstream.known import Dialect, Known

# What is sent by fields of its own, or, as the stop tokens, is the other server's matter.
_SENT_OTHERWISE = {"seed", "logit_bias", "mirostat_target", "mirostat_lr", "stop_token_ids", "grammar", "num_logprobs"}


def check(request: ChatRequest | CompletionRequest, dialect: Dialect) -> None:
    """Raises InvalidRequest for what no field of the dialect can say."""
    known, options = KNOWN[dialect], request.options
    defaults = SamplingParams()
    for setting in fields(SamplingParams):
        if setting.name not in known.sampling and setting.name not in _SENT_OTHERWISE:
            asked, default = getattr(options.sampling, setting.name), getattr(defaults, setting.name)
            _refuse_if(asked != default, setting.name)
    _refuse_if(options.sampling.mirostat_target is not None and known.mirostat is None, "mirostat_target")
    _check_options(options, known)
    if isinstance(request, ChatRequest):
        _check_chat(request, known)
    else:
        _check_completion(request, known)


def _check_options(options: GenerationOptions, known: Known) -> None:
    _refuse_if(options.num_choices > 1 and "n" in known.lacks, "n")
    _refuse_if(options.return_token_ids, "return_token_ids")
    _refuse_if(options.raw_output, "raw_output")
    _refuse_if(options.echo, "echo")
    _refuse_if(bool(options.echo_last), "echo_last")
    _refuse_if(options.max_prompt_tokens is not None, "prompt_truncate_len")
    _refuse_if(bool(options.max_cached_tokens), "prompt_cache_max_len")
    _refuse_if(options.max_cached_tokens == 0 and not (known.salt or known.no_cache), "prompt_cache_max_len")


def _check_chat(request: ChatRequest, known: Known) -> None:
    options, choice, reasoning = request.options, request.tool_choice, request.reasoning
    _refuse_if(options.grammar is not None and not _has_form(options.grammar.kind, known), "response_format")
    _refuse_if(options.sampling.num_logprobs is not None and "logprobs" in known.lacks, "logprobs")
    _refuse_if((choice.mode != "auto" or bool(choice.names)) and "tool_choice" in known.lacks, "tool_choice")
    _refuse_if(not choice.parallel and "parallel_tool_calls" in known.lacks, "parallel_tool_calls")
    _refuse_if(reasoning.effort is not None and "reasoning_effort" in known.lacks, "reasoning_effort")
    _refuse_if(any(isinstance(ref.detail, int) for ref in request.image_refs), "max_soft_tokens")
    _refuse_if(reasoning.max_tokens is not None, "reasoning.max_tokens")
    _refuse_if(reasoning.enabled is not None and not known.has_template_options, "enable_thinking")
    if request.continues and known.continues is None:
        raise InvalidRequest(
            "The server that runs this model cannot go on from a message of the assistant.", "messages"
        )
    _refuse_if(bool(request.template_options) and not known.has_template_options, "chat_template_kwargs")


def _check_completion(request: CompletionRequest, known: Known) -> None:
    options = request.options
    _refuse_if(bool(request.image_refs), "images")
    _refuse_if(request.safe_tokenization, "safe_tokenization")
    _refuse_if(not isinstance(request.prompt, str) and "token_ids" in known.lacks, "prompt")
    _refuse_if(options.sampling.num_logprobs is not None, "logprobs")
    is_grammar = options.grammar is not None and options.grammar.kind == "grammar" and known.grammar is not None
    _refuse_if(options.grammar is not None and not is_grammar, "response_format")


def _has_form(kind: str, known: Known) -> bool:
    """Whether an answer can be given this form."""
    if kind == "json_schema":
        return "response_format" not in known.lacks
    return kind == "grammar" and known.grammar is not None


def _refuse_if(is_asked: bool, field: str) -> None:
    if is_asked:
        raise InvalidRequest(
            f"The server that runs this model does not know {field}; leave it out, field: '{field}'", param=field
        )
