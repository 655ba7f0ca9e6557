"""What the bodies of all dialects have in common: strict objects, and unions that are chosen before they are checked.

Strict: no unknown field, no number as text, no NaN. `null` means absent.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, ValidationInfo, model_validator

from foveal.http.body import Budget

MAX_INT = 2**31 - 1
MAX_MESSAGES = 1024  # and parts of a message
MAX_STOP = 4
MAX_STOP_CHARS = 1024
CACHED_ANYWAY = "Every prompt is cached as far as it can be, without being asked."


class WireModel(BaseModel):
    """What holds for every object that a client sends."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _nulls_mean_absent(cls, value: object, info: ValidationInfo[Budget | None]) -> object:
        if not isinstance(value, dict):
            return value
        if info.context is not None:
            info.context.take(len(value))
        return {name: field for name, field in value.items() if field is not None}


def by_json_type(expected: str) -> Discriminator:
    """Chooses a union's member by JSON type before validation, so that an error is about the member that was meant.

    The tags are in angle brackets, so that body.py can leave them out of error messages.
    """
    return Discriminator(_json_type, custom_error_type="type", custom_error_message=f"Input should be {expected}")


def by_type(*types: str) -> Discriminator:
    """Chooses a union's member by the field `type`. The tags are these types in angle brackets."""
    listed = [f'{{"type": "{name}", ...}}' for name in types]
    expected = f"{', '.join(listed[:-1])} or {listed[-1]}" if len(listed) > 1 else listed[0]
    return Discriminator(type_tag, custom_error_type="type", custom_error_message=f"Input should be {expected}")


def _json_type(value: object) -> str:
    if isinstance(value, bool | str):
        return f"<{type(value).__name__}>"
    if isinstance(value, int | float):
        return "<number>"
    if not isinstance(value, list):
        return "<object>"
    if value and isinstance(value[0], int | list):
        return f"<list of {type(value[0]).__name__}>"
    return "<list>"


def type_tag(value: object) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)  # of a model that is dumped
    return f"<{kind}>" if isinstance(kind, str) else "<none>"


Detail = Literal["auto", "low", "high"]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]
ToolName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:/-]+$")]
PageRange = Annotated[str, Field(pattern=r"^[1-9]\d{0,5}(-[1-9]\d{0,5})?$")]
PAGES = 'Of a PDF: "3", or "2-5". Default: all.'
MaxTokens = Annotated[int, Field(ge=1, le=MAX_INT)]
SOFT_TOKENS = "The image's budget, in place of detail, where the model's images have one (Gemma 4)."
UnitFloat = Annotated[float, Field(ge=0, le=1)]


class CacheControl(WireModel):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None
