"""How one checkpoint is told of tools, calls and results: by its template where that knows them, or else in words."""

from __future__ import annotations

from dataclasses import replace

from foveal.conversation.config import ConversationConfig
from foveal.conversation.reasoning import Marks, marks_in
from foveal.conversation.template import Template
from foveal.conversation.told import CallOutline
from foveal.conversation.tools.form import HERMES, Form, form_named
from foveal.conversation.tools.found import found_form, takes_long_ids, takes_tools
from foveal.conversation.tools.preamble import images_behind_results, in_words
from foveal.errors import ConfigError
from foveal.types import ChatRequest, ImageRef, Message, Tool, ToolCall

_PROBE = (Tool("probe"),)
_WITH_IMAGE = (
    Message("user", ("Q",)),
    Message("assistant", (), tool_calls=(ToolCall("call00000", "probe", "{}"),)),
    Message("tool", ("R", ImageRef("", 1)), name="probe", tool_call_id="call00000"),
)


class ToolWriting:
    """Found once, when a template is loaded."""

    def __init__(self, config: ConversationConfig, template: Template) -> None:
        """Raises ConfigError for a form that is unknown."""
        self._template = template
        self.marks = Marks(*config.reasoning) if config.reasoning else marks_in(config.template)
        found = self._found() if config.published else None
        self.is_native = found is not None
        self.is_for_tools = self.is_native or bool(config.tool_form)  # the model was trained for them
        self.form = form_named(config.tool_form) if config.tool_form else found or HERMES
        if not self.is_native and self.form.parameters is not None:
            raise ConfigError(f"The template has no tools, so calls cannot be in the form {self.form.name}.")
        self._has_system = template.written((Message("system", ("S",)), Message("user", ("Q",)))) is not None
        self._takes_images = self.is_native and template.written(_WITH_IMAGE, _PROBE) is not None

    def adapted(self, request: ChatRequest) -> ChatRequest:
        """The request as the template can write it. Tools that may not be called are not shown."""
        tools = () if request.tool_choice.mode == "none" else request.tools
        if not self.is_native:
            messages = in_words(request.messages, tools, self.form, has_system=self._has_system)
            return replace(request, messages=tuple(messages), tools=tools)
        messages = [*request.messages] if self._takes_images else images_behind_results(request.messages)
        return replace(request, messages=tuple(messages), tools=tools)

    def _found(self) -> Form | None:
        """The form of calls that the template writes. It then gets arguments and ids as it wants them."""
        template = self._template
        if not takes_tools(template.written):
            return None
        for as_text in (False, True):
            template.calls = CallOutline(as_text)
            if (form := found_form(template.written)) is not None:
                template.calls = CallOutline(as_text, short_ids=not takes_long_ids(template.written))
                return form
        return None
