"""Events → the assembled response and its verdict: what was said, what is still to print, how it ended.

In: events of the Responses API, from any server, in order. Out: text for stdout piece by piece, finished tool calls,
the assembled response, a `Verdict`. Does no I/O and knows nothing of formats.

Items are found by output_index, since ids rotate (GitHub Copilot) or are missing; by their ids where several share an
index (LiteLLM) or there is none (Lemonade).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from oastream.display import one_line
from oastream.events.api_error import ApiError, error_verdict, event_error, read_error
from oastream.events.finish_reason import outcome_of_reason
from oastream.events.items import (
    CALLS,
    Event,
    Item,
    StreamedText,
    arguments_of,
    differs_from_printed,
    kind_of,
    nonempty_str,
    part_text,
    streamed_items,
    text_parts,
)
from oastream.exits import Failure, Outcome, Verdict, failure_of

_OUTPUTS = {
    **{kind: f"{kind}_output" for kind in CALLS},
    "mcp_approval_request": "mcp_approval_response",
    "local_shell_call": "local_shell_call_output",
    "shell_call": "shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "computer_call": "computer_call_output",
    "tool_search_call": "tool_search_output",
}
"""Items that wait for the client, unless the server itself adds what stands beside them here."""
_ANSWERS = frozenset(_OUTPUTS.values())


class Reply:
    """One response, as its events tell it. `limit` is the --max-output-tokens that was asked for.

    `printed` says that deltas are printed as they come, so that a final text may not contradict them. `keep_text`
    keeps the text too, for a response that must be assembled without the server's help. `offered` are the names of
    the tools in the request, None when they are not known.
    """

    def __init__(
        self,
        limit: int | None = None,
        printed: bool = True,
        keep_text: bool = False,
        offered: frozenset[str] | None = None,
    ) -> None:
        self._limit = limit
        self._printed = printed
        self._keep_text = keep_text
        self._offered = offered
        self._items: list[Item] = []
        self._by_index: dict[tuple[str, Any], Item] = {}
        self._by_name: dict[tuple[str, str, str], Item] = {}
        """Items by kind, the field that names them, and the name."""
        self._open: dict[str, dict[Item, None]] = {}
        """Items by kind whose `done` has not come, in order."""
        self._last_shown: StreamedText | None = None
        """The text that was printed last: only that one can still go on."""
        self._texts: dict[tuple[Any, Any], StreamedText] = {}
        """Texts that go on, by output_index and content_index: the short way of a delta."""
        self._finished: list[Item] = []
        """Calls that have become whole since `finished_calls` was asked."""
        self._final_items: list[Item] = []
        self._terminal: Event | None = None
        self.has_ended = False
        """Whether the terminal event has come."""
        self._error: ApiError | None = None
        self.response_id: str | None = None
        self.model: str | None = None
        self.usage: Event | None = None
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
        return "".join(text.text() for item in self._items for text in item.parts.values() if text.in_answer)

    def feed(self, event: Event) -> str:
        """Take an event in; the text that it adds to the answer. Raises `Failure` when it contradicts what was said."""
        take = _HANDLERS.get(event["type"])
        if take is None:
            return ""  # status of hosted tools, keep-alives, vendors' events: they change nothing of the answer
        try:
            return take(self, event) or ""
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise failure_of(Outcome.MALFORMED, "an event has a field of the wrong type", event["type"]) from error

    # The response as a whole -------------------------------------------------------------------------------------

    def _read_metadata(self, event: Event) -> None:
        response = _dict_or_empty(event.get("response"))
        self.response_id = self.response_id or nonempty_str(response.get("id"))
        self.model = self.model or nonempty_str(response.get("model"))
        self.usage = _dict_or_empty(response.get("usage")) or self.usage

    def _completed(self, event: Event) -> str:
        self._read_metadata(event)
        self._terminal, self.has_ended = event, True
        finals = self._final_output()
        self._final_items = []
        text = []
        for place, (fields, item) in enumerate(zip(finals, streamed_items(finals, self._items), strict=True)):
            found = item or self._new(kind_of(fields), fields, ("final", place))
            found.final = True
            self._final_items.append(found)
            text.append(self._complete_item(found, fields))
            if fields.get("status") in ("completed", "incomplete"):
                self._set_whole(found, fields)
        if self._ending_outcome() is Outcome.STOP:
            for item in self._items:
                self._set_whole(item, item.fields)
        return "".join(text)

    def _failed(self, event: Event) -> None:
        self._read_metadata(event)
        self._terminal, self.has_ended = event, True
        self._error = event_error(event) if event["type"] == "error" else read_error(event.get("response"))

    def reopen(self) -> None:
        """An error event was not the end: the server still has the response."""
        if self._terminal is not None and self._terminal["type"] == "error":
            self._terminal, self._error, self.has_ended = None, None, False

    # Items -------------------------------------------------------------------------------------------------------

    def _new(self, kind: str, fields: Event, index: Any) -> Item:
        item = Item(kind, fields)
        self._items.append(item)
        displaced = self._by_index.get((kind, index))
        for part in displaced.parts if displaced is not None else ():
            self._texts.pop((index, part), None)
        self._by_index[kind, index] = item
        self._open.setdefault(kind, {})[item] = None
        self._learn_names(item, fields)
        return item

    def _learn_names(self, item: Item, fields: Event) -> None:
        for field in ("id", "call_id"):
            name = nonempty_str(fields.get(field))
            if name is not None:
                self._by_name[item.kind, field, name] = item

    def _named(self, kind: str, fields: Event) -> Item | None:
        """The item that has the call_id or the id of `fields`; ids that rotate name nothing."""
        for field in ("call_id", "id"):
            item = self._by_name.get((kind, field, nonempty_str(fields.get(field)) or ""))
            if item is not None and (not item.closed or item.is_named_in(fields)):
                return item
        return None

    def _last_open(self, kind: str) -> Item | None:
        items = self._open.get(kind)
        return next(reversed(items)) if items else None

    def _added(self, event: Event) -> None:
        fields = _dict_or_empty(event.get("item"))
        index = _index(event, fields)
        known = self._by_index.get((kind_of(fields), index))
        # LiteLLM gives several items one output_index; a repeated `added` of an empty item is the same item.
        if known is None or known.whole or known.parts or known.arguments or not known.is_named_in(fields):
            self._new(kind_of(fields), fields, index)

    def _item_done(self, event: Event) -> str:
        fields = _dict_or_empty(event.get("item"))
        index = _index(event, fields)
        kind = kind_of(fields)
        item = self._done_item(kind, index, fields) or self._new(kind, fields, index)
        text = self._complete_item(item, fields)
        self._close(item, index)
        self._set_whole(item, fields)
        return text

    def _done_item(self, kind: str, index: Any, fields: Event) -> Item | None:
        """The item that a `done` is of: at its index, by its name, or the last open one that it agrees with."""
        item = self._by_index.get((kind, index))
        # Where nothing places a whole item, it is another one than the whole one before it.
        if item is not None and item.is_named_in(fields) and not (index is None and item.closed):
            return item
        named = self._named(kind, fields)
        if named is not None or (item is not None and not item.closed):
            return named or item
        last = self._last_open(kind)
        return last if last is not None and (last.is_named_in(fields) or last.agrees_with(fields)) else None

    def _event_item(self, event: Event, kind: str) -> Item:
        """The item that an event is part of; it may come without its `added`."""
        names = {"type": kind, "id": event.get("item_id")}
        index = _index(event, names)
        item = self._by_index.get((kind, index))
        if item is not None and item.is_named_in(names):
            return item
        named = self._named(kind, names)
        if named is not None or (item is not None and not item.closed):
            return named or item or self._new(kind, names, index)
        last = self._last_open(kind) if event.get("output_index") is None else None
        return last if last is not None and last.is_named_in(names) else self._new(kind, names, index)

    def _close(self, item: Item, index: Any) -> None:
        item.closed = True
        self._open[item.kind].pop(item, None)
        for part in item.parts:
            self._texts.pop((index, part), None)

    def _set_whole(self, item: Item, fields: Event) -> None:
        whole = fields.get("status") != "incomplete"
        if whole and not item.whole and item.kind in CALLS:
            self._finished.append(item)
        item.whole = whole

    def _complete_item(self, item: Item, fields: Event) -> str:
        """Take in what the server says of a whole item; the text that was missing."""
        item.replace(fields)
        self._learn_names(item, fields)
        if item.kind != "message":
            return ""
        parts = text_parts(fields)
        texts = list(item.parts.values())  # in order: Bedrock Mantle counts the first of them as 1
        texts += [self._new_text(item, ("final", place)) for place in range(len(texts), len(parts))]
        return "".join([self._complete_text(text, part) for text, part in zip(texts, parts, strict=False)])

    # Text --------------------------------------------------------------------------------------------------------

    def _text_of(self, event: Event) -> StreamedText:
        item = self._event_item(event, "message")
        part = event.get("content_index")
        if part is None and item.parts:
            part = next(reversed(item.parts))  # without a place it goes on with the last
        text = item.parts.get(part) or self._new_text(item, part)
        if event.get("output_index") is not None and not item.closed:
            self._texts[event["output_index"], part] = text
        return text

    def _new_text(self, item: Item, part: Any) -> StreamedText:
        text = item.parts[part] = StreamedText(item.in_answer, self._printed, self._keep_text)
        return text

    def _text_delta(self, event: Event) -> str:
        delta = event["delta"]
        if delta is None:
            return ""
        text = self._texts.get((event.get("output_index"), event.get("content_index"))) or self._going_on(event)
        return self._shown(text, text.add(delta))

    def _going_on(self, event: Event) -> StreamedText:
        """The text that a delta is of. Where nothing places it, one behind a text that is done begins a message."""
        text = self._text_of(event)
        if text.done and event.get("output_index") is None and nonempty_str(event.get("item_id")) is None:
            return self._new_text(self._new("message", {"type": "message"}, None), event.get("content_index"))
        return text

    def _refusal_delta(self, event: Event) -> str:
        refused = self._text_delta(event)
        self.has_refusal = self.has_refusal or bool(refused)
        return refused

    def _text_done(self, event: Event) -> str:
        return self._complete_text(self._text_of(event), event)

    def _part_done(self, event: Event) -> str:
        part = _dict_or_empty(event.get("part"))
        return self._complete_text(self._text_of(event), part) if text_parts({"content": [part]}) else ""

    def _complete_text(self, text: StreamedText, part: Event) -> str:
        full = part_text(part)
        if part.get("refusal") and text.in_answer:
            self.has_refusal = True
        began, piece = text.began, text.complete(full) if full else ""
        if piece and began and self._printed and text.in_answer and text is not self._last_shown:
            return _out_of_place(piece)
        return self._shown(text, piece)

    def _shown(self, text: StreamedText, piece: str) -> str:
        """What of a piece is the answer's text."""
        if not (piece and text.in_answer):
            return ""
        self.has_text = True
        self._last_shown = text
        return piece

    # Tool calls --------------------------------------------------------------------------------------------------

    def _arguments_delta(self, event: Event) -> None:
        delta = event["delta"]
        if delta is None:
            return
        if not isinstance(delta, str):
            raise TypeError("a delta is a text")
        item = self._event_item(event, _call_kind(event))
        if item.printed and delta.strip():
            raise differs_from_printed()
        item.arguments.append(delta)

    def _arguments_done(self, event: Event) -> None:
        item = self._event_item(event, _call_kind(event))
        item.set_arguments(event)
        if event.get("name"):
            item.fields = {**item.fields, "name": event["name"]}
        self._set_whole(item, event)

    def _waiting_items(self) -> list[Item]:
        """The items of the answer that wait for the client: it must run something, and answer."""
        answered: set[tuple[str, str | None]] = set()
        last_message = -1
        for place, item in enumerate(self._items):
            if item.kind in _ANSWERS:
                answered.add((item.kind, _answered_name(item)))
            elif item.kind == "message" and item.in_answer:
                last_message = place
        return [
            item
            for place, item in enumerate(self._items)
            if item.in_answer
            and _needs_an_answer(item, answered)
            and not (place < last_message and self._is_servers_own(item))
        ]

    def _is_servers_own(self, item: Item) -> bool:
        """Whether a call is of a tool that the request did not offer: xAI calls its x_search so, and goes on."""
        return item.kind in CALLS and self._offered is not None and item.fields.get("name") not in self._offered

    def calls(self) -> Iterator[Event]:
        """Every call, in order, as --format tools prints it. Raises `Failure` when one is not whole."""
        return (self.call(item) for item in self._waiting_items())

    def finished_calls(self) -> Iterator[Event]:
        """The calls that have become whole since the last time this was asked.

        One that is broken is left for the end, when it is known why. One of a tool that was not offered among others
        that were may be the server's own: the end tells.
        """
        finished, self._finished = self._finished, []
        for item in finished:
            if item.printed or not item.whole or not item.in_answer or (self._offered and self._is_servers_own(item)):
                continue
            try:
                call = self.call(item)
            except Failure:
                continue
            item.printed = True
            yield call

    def unprinted_calls(self) -> Iterator[Event]:
        """The calls that `finished_calls` has not given."""
        return (self.call(item) for item in self._waiting_items() if not item.printed)

    def call(self, item: Item) -> Event:
        """One call as --format tools prints it."""
        if not item.whole or self._is_cut(item):
            raise self._broken_call(item, "it is not whole")
        if item.kind not in CALLS:
            return item.fields
        name = nonempty_str(item.fields.get("name"))
        if name is None:
            raise self._broken_call(item, "it has no name")
        head = {"type": item.kind, "call_id": item.fields.get("call_id") or "", "name": name}
        if item.kind == "custom_tool_call":
            return {**head, "input": item.payload()}
        try:
            return {**head, "arguments": arguments_of(item.payload())}
        except ValueError as error:
            raise self._broken_call(item, "its arguments are not a JSON object") from error

    def _is_cut(self, item: Item) -> bool:
        """Whether the length limit cut a call before its arguments: nothing is not `{}` then.

        vLLM calls a cut call complete, and so do servers whose answer used all of its tokens.
        """
        if self._terminal is None or item.kind not in CALLS or item is not self._items[-1] or item.payload():
            return False
        cut = self._ending_outcome() is Outcome.LENGTH and item.fields.get("status") != "completed"
        return cut or self._used_all_tokens()

    def _broken_call(self, item: Item, why: str) -> Exception:
        name = one_line(nonempty_str(item.fields.get("name")) or item.kind, 80)
        ending = self._ending_outcome()
        if ending is Outcome.LENGTH or self._used_all_tokens():
            return failure_of(Outcome.LENGTH, "cut at the maximum number of tokens", f"within a call of {name}")
        if ending is Outcome.CONTENT_FILTER:
            return failure_of(ending, "cut by the content filter", f"within a call of {name}")
        return failure_of(Outcome.MALFORMED, f"the call of {name} is broken", why)

    # The whole ---------------------------------------------------------------------------------------------------

    def response(self) -> Event:
        """The assembled response: the server's last word, with what it left out of it."""
        response = dict(self._final())
        is_full = len(self._final_items) == len(self._items)
        output = [item.assembled() for item in (self._final_items if is_full else self._items)]
        if output != self._final_output() or "output" not in response:
            response["output"] = output
        return response

    def verdict(self, tools_wanted: bool) -> Verdict:
        """How the answer ended; `tools_wanted` is --format tools. Priority: 4x, then the lowest 1x that holds."""
        if self._terminal is None:
            return Verdict(Outcome.INTERRUPTED, "the answer broke off", "the stream ended without a terminal event")
        if self._terminal["type"] in ("error", "response.failed") or self._status() in ("failed", "cancelled"):
            return self._failure()
        if self._ending_outcome() is Outcome.FAILED:
            return Verdict(Outcome.FAILED, "the answer failed", f"the server names the reason {self._reason()}")
        held = next(self._applicable_verdicts(tools_wanted), None)
        return held or Verdict(Outcome.STOP)

    def _status(self) -> str | None:
        return nonempty_str(self._final().get("status"))

    def _final(self) -> Event:
        """The response as the terminal event has it."""
        return _dict_or_empty((self._terminal or {}).get("response"))

    def _final_output(self) -> list[Event]:
        output = self._final().get("output")
        return [fields for fields in output if isinstance(fields, dict)] if isinstance(output, list) else []

    def _failure(self) -> Verdict:
        if self._status() == "cancelled":
            return Verdict(Outcome.FAILED, "the answer failed", "the response was cancelled", should_retry=False)
        error = self._error or read_error(self._final()) or ApiError("no reason given")
        # On Chat a finish_reason may say that it failed, without an error that would tell why: that is a failed answer.
        by_finish_reason = "finish_reason" in (self._terminal or {})
        return error_verdict(error, after_output=self.output_began or by_finish_reason)

    def _reason(self) -> str:
        """Why the answer is incomplete, in the server's word; "" where it gives none."""
        details = _dict_or_empty(self._final().get("incomplete_details"))
        reason = nonempty_str(details.get("reason")) or nonempty_str((self._terminal or {}).get("finish_reason"))
        return "" if reason is None or reason.lower() == "null" else one_line(reason, 80)

    def _ending_outcome(self) -> Outcome:
        """What the terminal event says of the end: stop, length, content_filter, failed or other."""
        if self._terminal is None or (
            self._terminal["type"] != "response.incomplete" and self._status() != "incomplete"
        ):
            return Outcome.STOP
        return outcome_of_reason(self._reason())

    def _used_all_tokens(self) -> bool:
        """Whether the answer took every token it was allowed."""
        used = (self.usage or {}).get("output_tokens")
        return self._limit is not None and isinstance(used, int) and used >= self._limit

    def _applicable_verdicts(self, tools_wanted: bool) -> Iterator[Verdict]:
        """The 1x outcomes that hold, lowest number first."""
        ending = self._ending_outcome()
        if ending is Outcome.LENGTH:
            yield Verdict(ending, "cut at the maximum number of tokens")
        elif ending is Outcome.STOP and self._used_all_tokens():
            why = f"the server calls it complete, but it used all {self._limit} tokens"
            yield Verdict(Outcome.LENGTH, "probably cut at the maximum number of tokens", why)
        if ending is Outcome.CONTENT_FILTER:
            yield Verdict(ending, "cut by the content filter")
        if self.has_refusal:
            yield Verdict(Outcome.REFUSAL, "the model declined")
        waiting = self._waiting_items()
        if waiting and not tools_wanted:
            yield Verdict(
                Outcome.TOOL_CALLS, "the model wants a tool", _names(waiting), "--format tools prints its calls"
            )
        if ending is Outcome.OTHER:
            yield Verdict(ending, "the answer ended for an unknown reason", self._reason() or "no reason given")
        if not waiting and not self._has_content():
            yield Verdict(Outcome.EMPTY, "the answer is empty", "nothing but reasoning" if self._items else "")
        if tools_wanted and not waiting:
            yield Verdict(Outcome.NO_TOOL_CALLS, "no tool calls", "the model answered in text")

    def _has_content(self) -> bool:
        finished = (item.kind for item in self._items if item.whole and item.in_answer)
        return self.has_text or self.has_refusal or any(kind not in _NO_CONTENT for kind in finished)


_NO_CONTENT = frozenset({"reasoning", "message", "compaction"})
"""Items that leave an answer empty, however whole they are."""


# What each event does to the reply, and the text that it adds. Types that are not here change nothing of the answer.
_HANDLERS: dict[str, Callable[[Reply, Event], str | None]] = {
    "response.created": Reply._read_metadata,
    "response.queued": Reply._read_metadata,
    "response.in_progress": Reply._read_metadata,
    "response.completed": Reply._completed,
    "response.incomplete": Reply._completed,
    "response.failed": Reply._failed,
    "error": Reply._failed,
    "response.output_item.added": Reply._added,
    "response.output_item.done": Reply._item_done,
    "response.content_part.done": Reply._part_done,
    "response.output_text.delta": Reply._text_delta,
    "response.output_text.done": Reply._text_done,
    "response.audio.transcript.delta": Reply._text_delta,
    "response.refusal.delta": Reply._refusal_delta,
    "response.refusal.done": Reply._text_done,
    "response.function_call_arguments.delta": Reply._arguments_delta,
    "response.function_call_arguments.done": Reply._arguments_done,
    "response.custom_tool_call_input.delta": Reply._arguments_delta,
    "response.custom_tool_call_input.done": Reply._arguments_done,
}


def _dict_or_empty(value: Any) -> Event:
    return value if isinstance(value, dict) else {}


def _index(event: Event, fields: Event) -> Any:
    """What ties an event to its item: the output_index, else the id (Lemonade sends no indices)."""
    index = event.get("output_index")
    return index if index is not None else nonempty_str(fields.get("id"))


def _call_kind(event: Event) -> str:
    return "custom_tool_call" if "custom_tool_call" in event["type"] else "function_call"


def _needs_an_answer(item: Item, answered: set[tuple[str, str | None]]) -> bool:
    """Whether an item is a call, or waits for the client in another way, and the server itself has not run it."""
    output = _OUTPUTS.get(item.kind)
    if output is None or (item.kind == "tool_search_call" and item.fields.get("execution") != "client"):
        return False
    name = nonempty_str(item.fields.get("call_id")) or nonempty_str(item.fields.get("id"))
    return (output, name) not in answered and (output, None) not in answered


def _answered_name(item: Item) -> str | None:
    """What an output calls the item that it answers; None when it does not say."""
    return nonempty_str(item.fields.get("call_id")) or nonempty_str(item.fields.get("approval_request_id"))


def _names(items: list[Item]) -> str:
    return one_line(", ".join(one_line(nonempty_str(item.fields.get("name")) or item.kind, 80) for item in items))


def _out_of_place(piece: str) -> str:
    """What a text still lacked when another one had been printed after it: it cannot be put in any more."""
    if piece.strip():
        raise failure_of(
            Outcome.MALFORMED, "the answer contradicts itself", "a text goes on behind which another stands"
        )
    return ""
