"""Chat Completions: https://platform.openai.com/docs/api-reference/chat.

In and out are those of `apis`. Items become messages (`chat_messages`), and what the chunks do not repeat of the
request is taken from its body (`response_fields`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from oastream.apis.api import Api, Body, Item
from oastream.apis.body_fields import list_in, without_none
from oastream.apis.chat_messages import chat_messages
from oastream.options import Options

if TYPE_CHECKING:
    from oastream.events.decode import Dialect


class Chat(Api):
    """POST /chat/completions."""

    name = "chat"
    title = "Chat Completions"
    path = "/chat/completions"
    prompt_field = "messages"
    takes_audio = True

    def fields(self, options: Options, items: Sequence[Item], base: Body, system: str | None) -> Body:
        messages = [*list_in(base, "messages"), *chat_messages(items)]
        if system is not None:
            messages = [{"role": "system", "content": system}, *_without_system(messages)]
        # OpenAI's reasoning models refuse max_tokens, which this field replaced.
        fields = without_none(
            max_completion_tokens=options.max_output_tokens, reasoning_effort=options.reasoning_effort
        )
        # Without this OpenAI's chat streams bring no usage at all.
        return {"messages": messages, "stream_options": base.get("stream_options", {"include_usage": True})} | fields

    def tool(self, kind: str, definition: Body, is_flat: bool) -> Body:
        return {"type": kind, kind: definition}

    def tool_choice(self, kind: str, name: str) -> Body:
        return {"type": kind, kind: {"name": name}}

    def allowed_tools(self, fields: Body) -> Body:
        # The one choice whose type names its field as well, as a tool's does.
        return {"type": "allowed_tools", "allowed_tools": fields}

    def answer_format(self, schema: Body, base: Body) -> Body:
        return {"response_format": {"type": "json_schema", "json_schema": schema}}

    def load_dialect(self) -> None:
        """4 million instructions, nearly 2 % of a whole 20-event answer over the other API."""
        import oastream.events.chat_dialect  # noqa: F401 - loaded is all it must be

    def new_dialect(self, choices: int, keep_text: bool, request_fields: Body | None) -> Dialect:
        from oastream.events.chat_dialect import ChatDialect

        return ChatDialect(choices, keep_text, request_fields)

    def repeat_request(self, body: Body) -> Body | None:
        from oastream.apis.response_fields import response_fields  # only where somebody reads them

        return response_fields(body)


API = Chat()


def _without_system(messages: list[Any]) -> list[Any]:
    """The messages that follow a system message: there is room for one, and --system replaces it."""
    first = messages[0] if messages else None
    if isinstance(first, dict) and first.get("role") in ("system", "developer"):
        return messages[1:]
    return messages
