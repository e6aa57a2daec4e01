"""Events → the assembled response and its verdict: what was said, what is left to print, how it ended.

In: events of the Responses API, from any server, in order. Out: text to print piece by piece, finished tool calls, the
assembled response, a `Verdict`. Does no I/O, and refuses to know formats.
`item_table` knows which item an event belongs to, `items` and `streamed_text` what is known of each, `ending` what the
terminal event says, `tool_calls` which calls wait for the client. Here is what each event does, and the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from oastream.display import one_line
from oastream.events.fields import Event, Fields, dict_or_empty, int_or_zero, nonempty_str
from oastream.events.final_output import match_streamed_items
from oastream.events.item_table import ItemTable, item_index
from oastream.events.items import (
    CALLS,
    Item,
    differs_from_printed,
    part_text,
    text_parts,
)
from oastream.events.streamed_text import StreamedText
from oastream.events.terminal_event import TerminalEvent
from oastream.events.tool_calls import BrokenCall, is_servers_own, items_awaiting_client, printed_form, shown_name
from oastream.exits import Failure, Outcome, Verdict, failure_of

_NO_CONTENT = frozenset({"reasoning", "message", "compaction"})
"""Items that make no answer: one with nothing else is empty. A message counts by its text."""


class Reply:
    """One response, as its events describe it. `limit` is the request's --max-output-tokens.

    `prints_deltas` says that deltas are printed as they arrive, so that a later text must not contradict them.
    `keep_text` keeps the text, for a response that must be assembled without the server's help. `offered` are the names
    of the tools in the request, None if they are not known.
    """

    __slots__ = (
        "_completed_calls",
        "_ending",
        "_final_items",
        "_last_printed",
        "_limit",
        "_offered",
        "_open_texts",
        "_prints_deltas",
        "_table",
        "has_ended",
        "has_refusal",
        "has_text",
        "model",
        "response_id",
        "usage",
    )

    def __init__(
        self,
        limit: int | None = None,
        prints_deltas: bool = True,
        keep_text: bool = False,
        offered: frozenset[str] | None = None,
    ) -> None:
        self._limit = limit
        self._prints_deltas = prints_deltas
        self._offered = offered
        self._table = ItemTable(prints_deltas, keep_text)
        self._open_texts = self._table.open_texts  # the same dict: for every token it is looked at first
        self._last_printed: StreamedText | None = None
        """The text that was printed last: only that one can be continued on stdout."""
        self._completed_calls: list[Item] = []
        """Calls that became complete since `finished_calls` was last asked."""
        self._final_items: list[Item] = []
        """The items of the final output, in its order."""
        self._ending: TerminalEvent | None = None
        self.has_ended = False
        """Whether the terminal event was received."""
        self.response_id: str | None = None
        self.model: str | None = None
        self.usage: Fields | None = None
        self.has_text = False
        self.has_refusal = False

    @property
    def output_began(self) -> bool:
        """Whether text, a refusal or a tool call was received."""
        return self.has_text or self.has_refusal or self.awaits_client

    @property
    def awaits_client(self) -> bool:
        """Whether a call, or another item, waits for the client."""
        return bool(self._waiting_items())

    @property
    def text(self) -> str:
        """The answer's text, as it was printed; only with `keep_text`."""
        return "".join(text.text() for item in self._table.items for text in item.parts.values() if text.in_answer)

    def feed(self, event: Event) -> str:
        """Take an event; returns the text that it adds to the answer. Raises `Failure` if it contradicts others."""
        take = _HANDLERS.get(event["type"])
        if take is None:
            return ""  # progress of hosted tools, keep-alives, vendors' events: none of them changes the answer
        try:
            return take(self, event) or ""
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise failure_of(Outcome.MALFORMED, "an event has a field of the wrong type", event["type"]) from error

    def reopen(self) -> None:
        """Forget that an error event ended the stream: the server has sent more of the response."""
        if self._ending is not None and self._ending.is_error_event:
            self._ending, self.has_ended = None, False

    # The response as a whole -------------------------------------------------------------------------------------

    def _read_metadata(self, event: Event) -> None:
        response = dict_or_empty(event.get("response"))
        self.response_id = self.response_id or nonempty_str(response.get("id"))
        self.model = self.model or nonempty_str(response.get("model"))
        self.usage = dict_or_empty(response.get("usage")) or self.usage

    def _end(self, event: Event) -> TerminalEvent:
        self._read_metadata(event)
        self._ending, self.has_ended = TerminalEvent(event), True
        return self._ending

    def _fail(self, event: Event) -> None:
        self._end(event)

    def _complete(self, event: Event) -> str:
        """The terminal event of an answer: the items in it complete those that were streamed."""
        ending = self._end(event)
        finals = ending.output()
        matches = match_streamed_items(finals, self._table.items)
        self._final_items = []
        added_text = []
        for place, (fields, streamed) in enumerate(zip(finals, matches, strict=True)):
            item = streamed or self._table.add(fields, ("final", place))
            self._final_items.append(item)
            added_text.append(self._complete_item(item, fields))
            if fields.get("status") in ("completed", "incomplete"):
                self._mark_complete(item, fields)
        if ending.outcome() is Outcome.STOP:
            # In a complete answer a call is complete even without a `done` event of its own.
            for item in self._table.items:
                self._mark_complete(item, item.fields)
        return "".join(added_text)

    # Items -------------------------------------------------------------------------------------------------------

    def _begin_item(self, event: Event) -> None:
        self._table.begin(event)

    def _finish_item(self, event: Event) -> str:
        fields = dict_or_empty(event.get("item"))
        index = item_index(event, fields)
        item = self._table.find_done(fields, index) or self._table.add(fields, index)
        added_text = self._complete_item(item, fields)
        self._table.close(item, index)
        self._mark_complete(item, fields)
        return added_text

    def _complete_item(self, item: Item, fields: Fields) -> str:
        """Take the server's complete version of an item; returns the text that was missing."""
        item.replace_fields(fields)
        self._table.learn_names(item, fields)
        if item.kind != "message":
            return ""
        parts = text_parts(fields)
        texts = list(item.parts.values())  # by order, not by content_index: Bedrock Mantle counts from 1
        texts += [self._table.add_text(item, ("final", place)) for place in range(len(texts), len(parts))]
        return "".join([self._complete_text(text, part) for text, part in zip(texts, parts, strict=False)])

    def _mark_complete(self, item: Item, fields: Fields) -> None:
        is_complete = fields.get("status") != "incomplete"
        if is_complete and not item.is_complete and item.kind in CALLS:
            self._completed_calls.append(item)
        item.is_complete = is_complete

    # Text --------------------------------------------------------------------------------------------------------

    def _add_text(self, event: Event) -> str:
        delta = event["delta"]
        if delta is None:
            return ""
        key = event.get("output_index"), event.get("content_index")
        text = self._open_texts.get(key) or self._table.text_of_delta(event)
        return self._take_piece(text, text.add(delta))

    def _add_refusal(self, event: Event) -> str:
        piece = self._add_text(event)
        if piece:
            self.has_refusal = True
        return piece

    def _finish_text(self, event: Event) -> str:
        return self._complete_text(self._table.text_of(event), event)

    def _finish_part(self, event: Event) -> str:
        part = dict_or_empty(event.get("part"))
        if not text_parts({"content": [part]}):
            return ""
        return self._complete_text(self._table.text_of(event), part)

    def _complete_text(self, text: StreamedText, part: Fields) -> str:
        if part.get("refusal") and text.in_answer:
            self.has_refusal = True
        full = part_text(part)
        if not full:
            return ""
        had_begun = text.has_begun
        piece = text.complete_with(full)
        is_behind_another = had_begun and text is not self._last_printed
        if piece and is_behind_another and self._prints_deltas and text.in_answer:
            return _out_of_place(piece)
        return self._take_piece(text, piece)

    def _take_piece(self, text: StreamedText, piece: str) -> str:
        """The part of the answer's text that a piece is: all of it or nothing."""
        if not (piece and text.in_answer):
            return ""
        self.has_text = True
        self._last_printed = text
        return piece

    # Tool calls --------------------------------------------------------------------------------------------------

    def _add_arguments(self, event: Event) -> None:
        delta = event["delta"]
        if delta is None:
            return
        if not isinstance(delta, str):
            raise TypeError("a delta must be a string")
        item = self._table.item_of(event, _call_kind(event))
        if item.is_printed and delta.strip():
            raise differs_from_printed()
        item.pieces.append(delta)

    def _finish_arguments(self, event: Event) -> None:
        item = self._table.item_of(event, _call_kind(event))
        item.set_payload(event)
        if event.get("name"):
            item.fields = {**item.fields, "name": event["name"]}
        self._mark_complete(item, event)

    def _waiting_items(self) -> list[Item]:
        return items_awaiting_client(self._table.items, self._offered)

    def calls(self) -> Iterator[Fields]:
        """Every call, in order, as --format tools prints it. Raises `Failure` at one that is broken."""
        return (self._call(item) for item in self._waiting_items())

    def unprinted_calls(self) -> Iterator[Fields]:
        """The calls that `finished_calls` has not given, at the end of the answer. Raises `Failure` likewise."""
        return (self._call(item) for item in self._waiting_items() if not item.is_printed)

    def finished_calls(self) -> Iterator[Fields]:
        """The calls that became complete since the last time.

        A broken one is left for the end, when it is known why. So is a call of a tool that the request did not offer,
        if it offered any: it may be the server's own, which only the message after it tells.
        """
        completed, self._completed_calls = self._completed_calls, []
        for item in completed:
            may_be_servers = self._offered and is_servers_own(item, self._offered)
            if item.is_printed or not item.is_complete or not item.in_answer or may_be_servers:
                continue
            try:
                call = self._call(item)
            except Failure:
                continue
            item.is_printed = True
            yield call

    def _call(self, item: Item) -> Fields:
        """One call as --format tools prints it."""
        try:
            if not item.is_complete or self._is_cut(item):
                raise BrokenCall("it is incomplete")
            return printed_form(item)
        except BrokenCall as broken:
            raise self._call_failure(item, str(broken)) from broken

    def _is_cut(self, item: Item) -> bool:
        """Whether the length limit cut a call before its arguments: what is empty must not be taken for `{}` then.

        vLLM calls a cut call complete; a server that calls an answer complete which used all its tokens does, too.
        """
        is_last = item is self._table.items[-1]
        is_empty_call = item.kind in CALLS and not item.payload()
        if self._ending is None or not is_last or not is_empty_call:
            return False
        is_cut = self._ending_outcome() is Outcome.LENGTH and item.fields.get("status") != "completed"
        return is_cut or self._used_all_tokens()

    def _call_failure(self, item: Item, why: str) -> Failure:
        """The failure for a broken call: the end of the answer, if that explains it, else `why`."""
        name = shown_name(item)
        outcome = self._ending_outcome()
        if outcome is Outcome.LENGTH or self._used_all_tokens():
            return failure_of(Outcome.LENGTH, "cut at the maximum number of tokens", f"within a call of {name}")
        if outcome is Outcome.CONTENT_FILTER:
            return failure_of(outcome, "cut by the content filter", f"within a call of {name}")
        return failure_of(Outcome.MALFORMED, f"the call of {name} is broken", why)

    # The result --------------------------------------------------------------------------------------------------

    def response(self) -> Fields:
        """The assembled response: the server's final one, with the output that it left out."""
        # In the server's order, if its output has all that was streamed.
        items = self._table.items
        if len(self._final_items) == len(items):
            items = self._final_items
        output = [item.assemble() for item in items]
        if self._ending is None:
            return {"output": output}
        response = dict(self._ending.response)
        if output != self._ending.output() or "output" not in response:
            response["output"] = output
        return response

    def verdict(self, tools_wanted: bool) -> Verdict:
        """How the answer ended; `tools_wanted` is --format tools. Priority: 4x, then the lowest 1x that applies."""
        ending = self._ending
        if ending is None:
            return Verdict(Outcome.INTERRUPTED, "the answer broke off", "the stream ended without a terminal event")
        if ending.is_failure:
            return ending.failure(after_output=self.output_began)
        if ending.outcome() is Outcome.FAILED:
            return Verdict(Outcome.FAILED, "the answer failed", f"the server names the reason {ending.reason()}")
        return next(self._applicable_verdicts(ending, tools_wanted), Verdict(Outcome.STOP))

    def _applicable_verdicts(self, ending: TerminalEvent, tools_wanted: bool) -> Iterator[Verdict]:
        """The 1x outcomes that apply, lowest status first: the order of the lines is the order of the statuses."""
        outcome = ending.outcome()
        if outcome is Outcome.LENGTH:
            yield Verdict(outcome, "cut at the maximum number of tokens")
        elif outcome is Outcome.STOP and self._used_all_tokens():
            detail = f"the server calls it complete, but it used all {self._limit} tokens"
            yield Verdict(Outcome.LENGTH, "probably cut at the maximum number of tokens", detail)
        if outcome is Outcome.CONTENT_FILTER:
            yield Verdict(outcome, "cut by the content filter")
        if self.has_refusal:
            yield Verdict(Outcome.REFUSAL, "the model declined")
        waiting = self._waiting_items()
        if waiting and not tools_wanted:
            names = one_line(", ".join(map(shown_name, waiting)))
            yield Verdict(Outcome.TOOL_CALLS, "the model called a tool", names, "--format tools prints its calls")
        if outcome is Outcome.OTHER:
            yield Verdict(outcome, "the answer ended for an unknown reason", ending.reason() or "no reason given")
        if not waiting and not self._has_content():
            detail = ""
            if self._table.items:
                detail = "nothing but reasoning"
            yield Verdict(Outcome.EMPTY, "the answer is empty", detail)
        if tools_wanted and not waiting:
            yield Verdict(Outcome.NO_TOOL_CALLS, "no tool calls", "the model answered in text")

    def _ending_outcome(self) -> Outcome:
        if self._ending is None:
            return Outcome.STOP
        return self._ending.outcome()

    def _used_all_tokens(self) -> bool:
        """Whether the answer took every token that it was allowed."""
        if self._limit is None or self.usage is None:
            return False
        return int_or_zero(self.usage.get("output_tokens")) >= self._limit

    def _has_content(self) -> bool:
        completed = (item.kind for item in self._table.items if item.is_complete and item.in_answer)
        return self.has_text or self.has_refusal or any(kind not in _NO_CONTENT for kind in completed)


# What each event does to the reply; the text that it adds is returned. Events of other types do not change the answer.
_HANDLERS: dict[str, Callable[[Reply, Event], str | None]] = {
    "response.created": Reply._read_metadata,
    "response.queued": Reply._read_metadata,
    "response.in_progress": Reply._read_metadata,
    "response.completed": Reply._complete,
    "response.incomplete": Reply._complete,
    "response.failed": Reply._fail,
    "error": Reply._fail,
    "response.output_item.added": Reply._begin_item,
    "response.output_item.done": Reply._finish_item,
    "response.content_part.done": Reply._finish_part,
    "response.output_text.delta": Reply._add_text,
    "response.output_text.done": Reply._finish_text,
    "response.audio.transcript.delta": Reply._add_text,
    "response.refusal.delta": Reply._add_refusal,
    "response.refusal.done": Reply._finish_text,
    "response.function_call_arguments.delta": Reply._add_arguments,
    "response.function_call_arguments.done": Reply._finish_arguments,
    "response.custom_tool_call_input.delta": Reply._add_arguments,
    "response.custom_tool_call_input.done": Reply._finish_arguments,
}


def _call_kind(event: Event) -> str:
    return "custom_tool_call" if "custom_tool_call" in event["type"] else "function_call"


def _out_of_place(piece: str) -> str:
    """The rest of a text after which another one was printed: it is too late to print it, unless it is white space."""
    if piece.strip():
        raise failure_of(
            Outcome.MALFORMED, "the answer contradicts itself", "a text continues after the next one has begun"
        )
    return ""
