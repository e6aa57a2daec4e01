"""Events → the assembled response and its verdict: what was said, what is still to print, how it ended.

In: events of the Responses API, from any server, in order. Out: text for stdout piece by piece, finished tool calls,
the assembled response, a `Verdict`. Does no I/O and knows nothing of formats.

Items are keyed by output_index: ids rotate (GitHub Copilot) or are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from oastream.api_error import ApiError, event_error, read_error
from oastream.decode import error_verdict
from oastream.exits import Outcome, Verdict, failure
from oastream.items import CALLS, Event, Item, Text, arguments_of
from oastream.text import one_line

_WAITING = {
    "mcp_approval_request": "mcp_approval_response",
    "local_shell_call": "local_shell_call_output",
    "shell_call": "shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "computer_call": "computer_call_output",
    "tool_search_call": "tool_search_output",
}
"""Items that wait for the client unless the server itself adds their output."""


class Reply:
    """One response, as its events tell it. `limit` is the --max-output-tokens that was asked for.

    `printed` says that deltas are printed as they come, so that a final text may not contradict them. `keep_text`
    keeps the text too, for a response that must be assembled without the server's help.
    """

    def __init__(self, limit: int | None = None, printed: bool = True, keep_text: bool = False) -> None:
        self._limit = limit
        self._printed = printed
        self._keep_text = keep_text
        self._items: list[Item] = []
        self._by_index: dict[Any, Item] = {}
        self._texts: dict[tuple[Any, Any], Text] = {}
        self._terminal: Event | None = None
        self.ended = False
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
        return self.has_text or self.has_refusal or self.waits

    @property
    def waits(self) -> bool:
        """Whether a call, or another item, waits for the client."""
        return any(self._waits(item) for item in self._items)

    @property
    def text(self) -> str:
        """The answer's text, as it was printed; only with `keep_text`."""
        return "".join(text.text() for item in self._items for text in item.parts.values() if text.shown)

    def feed(self, event: Event) -> str:
        """Take an event in; the text that it adds to the answer. Raises `Failure` when it contradicts what was said."""
        take = _STATES.get(event["type"])
        if take is None:
            return ""  # status of hosted tools, keep-alives, vendors' events: they change nothing of the answer
        try:
            return take(self, event) or ""
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise failure(Outcome.MALFORMED, "an event has a field of the wrong type", event["type"]) from error

    # The response as a whole -------------------------------------------------------------------------------------

    def _lifecycle(self, event: Event) -> None:
        response = _object(event.get("response"))
        self.response_id = self.response_id or _word(response.get("id"))
        self.model = self.model or _word(response.get("model"))
        self.usage = _object(response.get("usage")) or self.usage

    def _completed(self, event: Event) -> str:
        self._lifecycle(event)
        self._terminal, self.ended = event, True
        output = enumerate(_object(event.get("response")).get("output") or ())
        text = "".join([self._reconcile(place, fields) for place, fields in output if isinstance(fields, dict)])
        for item in self._items if self._ending_outcome() is Outcome.STOP else ():
            item.whole = item.whole or item.fields.get("status") != "incomplete"
        return text

    def _failed(self, event: Event) -> None:
        self._lifecycle(event)
        self._terminal, self.ended = event, True
        self._error = event_error(event) if event["type"] == "error" else read_error(event.get("response"))

    def _reconcile(self, position: int, fields: Event) -> str:
        """An item of the final output: it completes the one that was streamed, or was never streamed at all."""
        kind = _word(fields.get("type")) or ""
        same = [item for item in self._items if item.kind == kind]
        nth = sum(1 for earlier in self._final_kinds(position) if earlier == kind)
        item = same[nth] if nth < len(same) else self._new(kind, fields, ("final", position))
        return self._fill(item, fields)

    def _final_kinds(self, position: int) -> Iterator[Any]:
        response = self._final()
        return (fields.get("type") for fields in response["output"][:position] if isinstance(fields, dict))

    # Items -------------------------------------------------------------------------------------------------------

    def _new(self, kind: str, fields: Event, index: Any) -> Item:
        item = Item(kind, fields)
        self._items.append(item)
        self._by_index[index] = item
        for key in [key for key in self._texts if key[0] == index]:
            del self._texts[key]
        return item

    def _added(self, event: Event) -> None:
        fields = _object(event.get("item"))
        index = _index(event, fields)
        known = self._by_index.get(index)
        # LiteLLM gives several items one output_index; a repeated `added` of an empty item is the same item.
        if known is None or known.kind != fields.get("type") or known.whole or known.parts or known.arguments:
            self._new(_word(fields.get("type")) or "", fields, index)

    def _item_done(self, event: Event) -> str:
        fields = _object(event.get("item"))
        index = _index(event, fields)
        item = self._by_index.get(index)
        if item is None or item.kind != fields.get("type"):
            item = self._match(fields) or self._new(_word(fields.get("type")) or "", fields, index)
        text = self._fill(item, fields)
        item.whole = fields.get("status") != "incomplete"
        return text

    def _match(self, fields: Event) -> Item | None:
        """The open item that a `done` under another index means: same type and id, or the last one of its type."""
        same = [item for item in self._items if item.kind == fields.get("type") and not item.whole]
        by_id = [item for item in same if item.fields.get("id") == fields.get("id")]
        candidates = by_id or same
        return candidates[-1] if candidates else None

    def _fill(self, item: Item, fields: Event) -> str:
        item.replace(fields)
        if item.kind != "message":
            return ""
        contents = [part for part in fields.get("content") or () if isinstance(part, dict)]
        texts = list(item.parts.values())
        texts += [self._text(item, ("final", position)) for position in range(len(texts), len(contents))]
        return "".join([self._complete(text, part) for text, part in zip(texts, contents, strict=False)])

    # Text --------------------------------------------------------------------------------------------------------

    def _text_of(self, event: Event) -> Text:
        key = (event.get("output_index"), event.get("content_index"))
        text = self._texts.get(key)
        if text is None:
            item = self._open_item(event, "message")
            text = self._texts[key] = item.parts.get(key[1]) or self._text(item, key[1])
        return text

    def _text(self, item: Item, part: Any) -> Text:
        text = item.parts[part] = Text(item.text_shown, self._printed, self._keep_text)
        return text

    def _open_item(self, event: Event, kind: str) -> Item:
        """The item that an event without its `added` belongs to: at its index, by its id, the last of its kind."""
        index = _index(event, {"id": event.get("item_id")})
        item = self._by_index.get(index)
        if item is not None and item.kind == kind:
            return item
        if "output_index" not in event:
            same = [item for item in self._items if item.kind == kind and not item.whole]
            if same:
                return same[-1]
        return self._new(kind, {"type": kind, "id": event.get("item_id")}, index)

    def _text_delta(self, event: Event) -> str:
        text = self._texts.get((event.get("output_index"), event.get("content_index"))) or self._text_of(event)
        return self._shown(text, text.add(event["delta"]))

    def _refusal_delta(self, event: Event) -> str:
        self.has_refusal = self.has_refusal or bool(event["delta"])
        return self._text_delta(event)

    def _text_done(self, event: Event) -> str:
        return self._complete(self._text_of(event), event)

    def _part_done(self, event: Event) -> str:
        part = _object(event.get("part"))
        if part.get("type") not in ("output_text", "text", "refusal"):
            return ""
        return self._complete(self._text_of(event), part)

    def _complete(self, text: Text, part: Event) -> str:
        refusal = part.get("refusal")
        full = refusal if isinstance(refusal, str) and refusal else part.get("text")
        self.has_refusal = self.has_refusal or bool(refusal)
        return self._shown(text, text.complete(full)) if isinstance(full, str) else ""

    def _shown(self, text: Text, piece: str) -> str:
        """What of a piece is the answer's text."""
        if not (piece and text.shown):
            return ""
        self.has_text = True
        return piece

    # Tool calls --------------------------------------------------------------------------------------------------

    def _arguments_delta(self, event: Event) -> None:
        if not isinstance(event["delta"], str):
            raise TypeError("a delta is a text")
        self._open_item(event, _call_kind(event)).arguments.append(event["delta"])

    def _arguments_done(self, event: Event) -> None:
        item = self._open_item(event, _call_kind(event))
        item.call_with(event)
        if event.get("name"):
            item.fields = {**item.fields, "name": event["name"]}
        item.whole = True

    def _waits(self, item: Item) -> bool:
        """Whether an item is a call, or waits for the client in another way."""
        if item.kind in CALLS:
            return not self._answered(item, f"{item.kind}_output")
        if item.kind == "tool_search_call" and item.fields.get("execution") != "client":
            return False
        return item.kind in _WAITING and not self._answered(item, _WAITING[item.kind])

    def _answered(self, item: Item, output: str) -> bool:
        """Whether the server itself ran it: its output is among the items."""
        outputs = [other for other in self._items if other.kind == output]
        call_id = item.fields.get("call_id")
        return any(other.fields.get("call_id") in (call_id, None) for other in outputs)

    def calls(self) -> Iterator[Event]:
        """Every call, in order, as --format tools prints it. Raises `Failure` when one is not whole."""
        for item in self._items:
            if self._waits(item):
                yield self.call(item)

    def finished_calls(self) -> Iterator[Event]:
        """The calls that have become whole since the last time this was asked."""
        for item in self._items:
            if item.whole and not item.printed and item.kind in CALLS:
                item.printed = True
                yield self.call(item)

    def unprinted_calls(self) -> Iterator[Event]:
        """The calls that `finished_calls` has not given."""
        return (self.call(item) for item in self._items if self._waits(item) and not item.printed)

    def call(self, item: Item) -> Event:
        """One call as --format tools prints it."""
        if item.kind not in CALLS:
            return item.fields
        head = {"type": item.kind, "call_id": item.fields.get("call_id") or "", "name": item.fields.get("name") or ""}
        if not item.whole:
            raise self._broken_call(item, "it is not whole")
        if item.kind == "custom_tool_call":
            return {**head, "input": item.payload()}
        try:
            return {**head, "arguments": arguments_of(item.payload())}
        except ValueError as error:
            raise self._broken_call(item, "its arguments are not a JSON object") from error

    def _broken_call(self, item: Item, why: str) -> Exception:
        name = one_line(str(item.fields.get("name") or "?"), 80)
        ending = self._ending_outcome()
        if ending is Outcome.LENGTH or self._spent():
            return failure(Outcome.LENGTH, "cut at the maximum number of tokens", f"within a call of {name}")
        if ending is Outcome.CONTENT_FILTER:
            return failure(ending, "cut by the content filter", f"within a call of {name}")
        return failure(Outcome.MALFORMED, f"the call of {name} is broken", why)

    # The whole ---------------------------------------------------------------------------------------------------

    def response(self) -> Event:
        """The assembled response: the server's last word, with the items that it left out of it."""
        response = dict(self._final())
        if not response.get("output"):
            response["output"] = [item.assembled() for item in self._items]
        return response

    def verdict(self, tools_wanted: bool) -> Verdict:
        """How the answer ended; `tools_wanted` is --format tools. Priority: 4x, then the lowest 1x that holds."""
        if self._terminal is None:
            return Verdict(Outcome.INTERRUPTED, "the answer broke off", "the stream ended without a terminal event")
        if self._terminal["type"] in ("error", "response.failed") or self._status() in ("failed", "cancelled"):
            return self._failure()
        held = [verdict for verdict in self._holding(tools_wanted) if verdict is not None]
        return held[0] if held else Verdict(Outcome.STOP)

    def _status(self) -> str | None:
        return _word(self._final().get("status"))

    def _final(self) -> Event:
        """The response as the terminal event has it."""
        return _object((self._terminal or {}).get("response"))

    def _failure(self) -> Verdict:
        if self._status() == "cancelled":
            return Verdict(Outcome.FAILED, "the answer failed", "the response was cancelled")
        error = self._error or read_error(self._final()) or ApiError("no reason given")
        # On Chat a finish_reason may say that it failed, without an error that would tell why: that is a failed answer.
        by_finish_reason = "finish_reason" in (self._terminal or {})
        return error_verdict(error, after_output=self.output_began or by_finish_reason)

    def _reason(self) -> str:
        """Why the answer is incomplete, in the server's word."""
        reason = _object(self._final().get("incomplete_details")).get("reason")
        return str(reason or (self._terminal or {}).get("finish_reason") or "")

    def _ending_outcome(self) -> Outcome:
        """What the terminal event says of the end: stop, length, content_filter or other."""
        if self._terminal is None or (
            self._terminal["type"] != "response.incomplete" and self._status() != "incomplete"
        ):
            return Outcome.STOP
        return _REASONS.get(self._reason().lower(), Outcome.OTHER)

    def _spent(self) -> bool:
        """Whether the answer took every token it was allowed."""
        used = (self.usage or {}).get("output_tokens")
        return self._limit is not None and isinstance(used, int) and used >= self._limit

    def _holding(self, tools_wanted: bool) -> Iterator[Verdict | None]:
        """The 1x outcomes that hold, lowest number first."""
        ending = self._ending_outcome()
        if ending is Outcome.LENGTH:
            yield Verdict(ending, "cut at the maximum number of tokens")
        elif ending is Outcome.STOP and self._spent():
            why = f"the server calls it complete, but it used all {self._limit} tokens"
            yield Verdict(Outcome.LENGTH, "probably cut at the maximum number of tokens", why)
        if ending is Outcome.CONTENT_FILTER:
            yield Verdict(ending, "cut by the content filter")
        if self.has_refusal:
            yield Verdict(Outcome.REFUSAL, "the model declined")
        waiting = [item for item in self._items if self._waits(item)]
        if waiting and not tools_wanted:
            yield Verdict(
                Outcome.TOOL_CALLS, "the model wants a tool", _names(waiting), "--format tools prints its calls"
            )
        if ending is Outcome.OTHER:
            reason = one_line(self._reason(), 80) or "no reason given"
            yield Verdict(ending, "the answer ended for an unknown reason", reason)
        if not waiting and not self._has_content():
            yield Verdict(Outcome.EMPTY, "the answer is empty", "nothing but reasoning" if self._items else "")
        if tools_wanted and not waiting:
            yield Verdict(Outcome.NO_TOOL_CALLS, "no tool calls", "the model answered in text")

    def _has_content(self) -> bool:
        done = [item for item in self._items if item.whole and item.kind not in ("reasoning", "message", "compaction")]
        return self.has_text or self.has_refusal or bool(done)


_REASONS = {
    "max_output_tokens": Outcome.LENGTH,
    "max_tokens": Outcome.LENGTH,
    "model_length": Outcome.LENGTH,
    "length": Outcome.LENGTH,
    "content_filter": Outcome.CONTENT_FILTER,
}

# What each event does to the reply, and the text that it adds. Types that are not here change nothing of the answer.
_STATES: dict[str, Callable[[Reply, Event], str | None]] = {
    "response.created": Reply._lifecycle,
    "response.queued": Reply._lifecycle,
    "response.in_progress": Reply._lifecycle,
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


def _object(value: Any) -> Event:
    """A field that should be an object, empty when it is something else."""
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str | None:
    """A field that should be a name, None when it is empty or something else."""
    return value if isinstance(value, str) and value else None


def _index(event: Event, fields: Event) -> Any:
    """What ties an event to its item: the output_index, else the id (Lemonade sends no indices)."""
    index = event.get("output_index")
    return index if index is not None else _word(fields.get("id"))


def _call_kind(event: Event) -> str:
    return "custom_tool_call" if "custom_tool_call" in event["type"] else "function_call"


def _names(items: list[Item]) -> str:
    return ", ".join(one_line(str(item.fields.get("name") or item.kind), 80) for item in items)
