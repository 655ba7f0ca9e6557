"""A request's options and the length of its prompt -> sampling parameters for the engine. Pure functions."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace

from foveal.errors import InvalidRequest, PromptTooLong
from foveal.types import Caller, GenerationOptions, SamplingParams

MAX_PROMPT_LOGPROBS = 8192  # tokens: with five alternatives each, some two megabytes of JSON


def sampling_for(options: GenerationOptions, num_prompt_tokens: int, max_model_len: int) -> SamplingParams:
    """The sampling parameters of a request's choices. Raises PromptTooLong or InvalidRequest."""
    sampling = fit_to_context(options, num_prompt_tokens, max_model_len)
    return replace(sampling, num_prompt_logprobs=num_prompt_logprobs(options, num_prompt_tokens))


def fit_to_context(options: GenerationOptions, num_prompt_tokens: int, max_model_len: int) -> SamplingParams:
    """The sampling parameters with max_tokens cut to what the context leaves.

    Raises PromptTooLong where nothing is left, or where the client asked for an error instead of a cut.
    """
    room = max_model_len - num_prompt_tokens
    wanted = options.sampling.max_tokens if options.max_tokens is None else options.max_tokens
    if room < 1 or (options.when_too_long == "error" and options.max_tokens is not None and wanted > room):
        raise PromptTooLong(num_prompt_tokens, max_model_len)
    return replace(options.sampling, max_tokens=min(wanted, room))


def num_prompt_logprobs(options: GenerationOptions, num_prompt_tokens: int) -> int:
    """How many of the prompt's last tokens get logprobs: those of an echo, if logprobs are asked for.

    Raises InvalidRequest for more than MAX_PROMPT_LOGPROBS.
    """
    if options.sampling.num_logprobs is None or not (options.echo or options.echo_last):
        return 0
    num_shown = min(options.echo_last or num_prompt_tokens, num_prompt_tokens)
    if num_shown > MAX_PROMPT_LOGPROBS:
        raise InvalidRequest(
            f"The logprobs of {num_shown:,} echoed tokens are asked for, and at most {MAX_PROMPT_LOGPROBS:,} can be "
            "had: set echo_last to fewer, field: 'echo_last'",
            param="echo_last",
        )
    return num_shown


def cache_salt(options: GenerationOptions, caller: Caller) -> bytes:
    """The salt of a prompt's cache hashes. A request that shares nothing gets one that no other request has."""
    return secrets.token_bytes(32) if options.max_cached_tokens == 0 else client_salt(options, caller)


def client_salt(options: GenerationOptions, caller: Caller) -> bytes:
    """The salt of whatever is cached for a request, its images included.

    Accounts share nothing with each other, whatever isolation keys their clients choose.
    """
    if caller.account == Caller().account:
        return options.cache_salt
    return hashlib.sha256(b"account\0" + caller.account.encode() + b"\0" + options.cache_salt).digest()
