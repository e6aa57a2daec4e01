"""The Responses API: https://platform.openai.com/docs/api-reference/responses.

In and out are those of `apis`. Items, parts and events are in this API's form everywhere, so that little is to be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from oastream.apis.api import Api, Body, Item
from oastream.apis.body_fields import object_in, without_none
from oastream.exits import Outcome, failure_of
from oastream.options import Options

if TYPE_CHECKING:
    from oastream.events.decode import Dialect


class Responses(Api):
    """POST /responses."""

    name = "responses"
    title = "the Responses API"
    path = "/responses"
    prompt_field = "input"
    ends_with_whole_answer = True
    has_own_events = True
    takes_file_urls = True

    def fields(self, options: Options, items: Sequence[Item], base: Body, system: str | None) -> Body:
        fields = without_none(
            instructions=system,
            max_output_tokens=options.max_output_tokens,
            previous_response_id=options.previous_response_id,
        )
        for item in items:
            _refuse_audio(item)
        earlier = base.get("input")
        if items and isinstance(earlier, list):
            fields["input"] = [*earlier, *items]
        elif items:
            fields["input"] = _lone_text(items) or list(items)
        if options.reasoning_effort is not None:
            fields["reasoning"] = {**object_in(base, "reasoning"), "effort": options.reasoning_effort}
        return fields

    def tool(self, kind: str, definition: Body, is_flat: bool) -> Body:
        if kind == "function" and not is_flat:
            # This API makes a tool strict that does not say so, Chat does not: what was optional would be mandatory.
            definition = {**definition, "strict": definition.get("strict", False)}
        return {"type": kind, **definition}

    def tool_choice(self, kind: str, name: str) -> Body:
        return {"type": kind, "name": name}

    def allowed_tools(self, fields: Body) -> Body:
        return {"type": "allowed_tools", **fields}

    def answer_format(self, schema: Body, base: Body) -> Body:
        return {"text": {**object_in(base, "text"), "format": {"type": "json_schema", **schema}}}

    def load_dialect(self) -> None:
        import oastream.events.responses_dialect  # noqa: F401 - loaded is all it must be

    def new_dialect(self, choices: int, keep_text: bool, request_fields: Body | None) -> Dialect:
        from oastream.events.responses_dialect import ResponsesDialect

        return ResponsesDialect()

    def schema_hint(self, response: Body) -> str:
        """Servers say in the response which format they kept to; those that ignore ours may know Chat's."""
        if _field_at(response, "text", "format", "type") == "json_schema":
            return ""
        return "this server seems to ignore schemas in the Responses API; try --api chat"


API = Responses()


def _refuse_audio(item: Item) -> None:
    """A conversation that began on Chat may hold audio, which this API has no part for."""
    content = item.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") == "input_audio":
            raise failure_of(
                Outcome.INPUT, "the conversation holds audio", "the Responses API takes none", "--api chat does"
            )


def _lone_text(items: Sequence[Item]) -> str | None:
    """The text of a user's message that is all there is: the shortest form, which every server takes."""
    if len(items) != 1 or items[0].get("role") != "user":
        return None
    content = items[0].get("content")
    return content if isinstance(content, str) else None


def _field_at(value: Any, *path: str) -> Any:
    """The field at `path` of nested objects, None where there is none."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value
