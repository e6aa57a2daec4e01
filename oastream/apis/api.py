"""The interface of an API: all that the rest of the program may ask of one.

In and out are those of `apis`. The forms that everything else knows are the Responses API's: input items, content
parts, events. Each API lays them out in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from oastream.options import Options

if TYPE_CHECKING:
    from oastream.events.decode import Dialect

Body = dict[str, Any]
Item = dict[str, Any]


class Api:
    """One API. Every method but `load_dialect` is pure; a `Failure` it raises is one with outcome input.

    What has a default here is alike in OpenAI's APIs; Anthropic's Messages, added as a trial, differed in each of
    `default_model`, `headers`, `key_header` and `general_tool_choice`.
    """

    name = ""
    """What --api calls it."""
    title = ""
    """What messages call it."""
    path = ""
    """Where requests go, below the base URL."""
    prompt_field = ""
    """The field of a body that has the conversation: by it a body without an address is told from another API's."""
    ends_with_whole_answer = False
    """Whether its last event holds all of the answer, as the API sends it without streaming."""
    has_own_events = False
    """Whether its events are the vocabulary of ours, so that they are passed on as the server wrote them."""
    default_model = "gpt-5-mini"
    headers: tuple[tuple[str, str], ...] = ()
    """What each request says beside the key, such as a version."""
    takes_audio = False
    takes_file_urls = False
    """Whether a file may be attached as a URL that the server fetches. An image always may."""

    def key_header(self, key: str) -> tuple[str, str]:
        """The header that carries the key (RFC 6750)."""
        return "Authorization", f"Bearer {key}"

    # The body ----------------------------------------------------------------------------------------------------

    def fields(self, options: Options, items: Sequence[Item], base: Body, system: str | None) -> Body:
        """The fields for the conversation and for the options that no two APIs have alike, to be laid over `base`."""
        raise NotImplementedError

    def tool(self, kind: str, definition: Body, is_flat: bool) -> Body:
        """A tool of kind function or custom. `is_flat`: it was given as the Responses API has it."""
        raise NotImplementedError

    def general_tool_choice(self, word: str) -> Any:
        """The choice that a word stands for: auto, none or required."""
        return word

    def tool_choice(self, kind: str, name: str) -> Body:
        """The choice of one tool of kind function or custom."""
        raise NotImplementedError

    def allowed_tools(self, fields: Body) -> Body:
        """The choice of some tools: `fields` are mode and tools, each of those in this API's shape."""
        raise NotImplementedError

    def answer_format(self, schema: Body, base: Body) -> Body:
        """The fields that ask for an answer by a schema, laid over what `base` has there. `schema` has a name, too."""
        raise NotImplementedError

    # The reply ---------------------------------------------------------------------------------------------------

    def load_dialect(self) -> None:
        """Import what reads the events: at the start, while nobody waits, and not what reads those of another API."""
        raise NotImplementedError

    def new_dialect(self, choices: int, keep_text: bool, request_fields: Body | None) -> Dialect:
        """What reads the events of one reply.

        `choices` is how many answers were asked for, `keep_text` whether events that repeat the text are read,
        `request_fields` are what `repeat_request` gave.
        """
        raise NotImplementedError

    def repeat_request(self, body: Body) -> Body | None:
        """The fields of a response that repeat the request; None where the API's own events have them."""
        return None

    def schema_hint(self, response: Body) -> str:
        """What may help where an answer does not fit the schema; nothing where the server knew of it."""
        return ""
