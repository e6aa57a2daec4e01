"""Fragments of tool calls → the call that each one belongs to.

In: the fragments of one choice, in order. Out: the call that a fragment goes on with, or none: it begins a new one.
Refuses to know what becomes of a call. Chat has three fields for it, index, id and name, and each of them is missing,
repeated or wrong on some server; all that is known of such servers is in `find`.
"""

from __future__ import annotations

from oastream.events.chat_fields import CallHead
from oastream.events.chat_items import CallItem


class Calls:
    """The calls of one choice."""

    __slots__ = ("_by_id", "_by_index", "_by_index_and_id", "latest")

    def __init__(self) -> None:
        self.latest: CallItem | None = None
        """The one that began last."""
        self._by_index: dict[int, CallItem] = {}  # the latest at each index: an index may be used again
        self._by_id: dict[str, CallItem] = {}  # the latest of each id: Gemini behind OpenRouter uses one twice
        self._by_index_and_id: dict[tuple[int, str], CallItem] = {}

    def add(self, call: CallItem, index: int | None) -> None:
        """A call that a fragment has begun at `index`."""
        self.latest = call
        if index is not None:
            self._by_index[index] = call
        self._learn_id(call, index)

    def merge_head(self, call: CallItem, head: CallHead) -> None:
        """Take what a later fragment adds to a call's id and name.

        Baseten and OpenRouter repeat both in every fragment; that adds nothing. An id that changes on the way
        (Poolside, mlx-openai-server) stays the first, which is the one that the tool's output must name.
        """
        index, call_id, name = head
        if call_id and not call.call_id:
            call.call_id = call_id
            self._learn_id(call, index)
        if name and not call.name:
            call.name = name
        elif name and name != call.name and not call_id and not call.pieces:
            call.name += name  # a name that streams in pieces, before any argument

    def find(self, head: CallHead) -> CallItem | None:
        """The call that a fragment goes on with, None when it begins a new one. The first line that fits decides:

        ======  ==================  =======================  ==========================================
        index   id                  name                     call
        ======  ==================  =======================  ==========================================
        none    known               any                      the one of that id
        none    new or none         some                     a new one
        none    new or none         none                     the latest
        known   none                another, behind          a new one
                                    arguments
        known   none                any other                the one at the index
        known   known at the index  any                      the one of index and id
        known   another             some, and the call at    a new one
                                    the index has an id
        known   another             any other                the one at the index
        new     any                 some                     a new one
        new     some                none                     the one of that id, or a new one
        new     none                none                     the latest
        ======  ==================  =======================  ==========================================
        """
        index, call_id, name = head
        if index is None:
            return self._find_without_index(call_id, name)
        at_index = self._by_index.get(index)
        if at_index is not None:
            return self._find_at_index(at_index, index, call_id, name)
        if name:
            return None  # although its id may be known: Gemini behind OpenRouter gives two calls one id
        if call_id:
            return self._by_id.get(call_id)
        return self.latest  # SGLang #6310 heads a call at one index and goes on at another

    def _find_without_index(self, call_id: str, name: str) -> CallItem | None:
        """Gemini, Mistral and Ollama < 0.4.7 send no index, nor did the API before tools."""
        if call_id in self._by_id:
            return self._by_id[call_id]
        if name:
            return None
        return self.latest

    def _find_at_index(self, at_index: CallItem, index: int, call_id: str, name: str) -> CallItem | None:
        if not call_id:
            # Alibaba and vLLM go on with id "". A server without ids that uses index 0 for every call shows a new one
            # by its name alone.
            if name and at_index.name and name != at_index.name and at_index.pieces:
                return None
            return at_index
        known = self._by_index_and_id.get((index, call_id))
        if known is not None:
            return known
        # Older Ollama and LiteLLM send index 0 for every call, each with its id and name. Poolside and
        # mlx-openai-server change the id on the way, but name the tool once: then it is the call that is there.
        if name and at_index.call_id:
            return None
        return at_index

    def _learn_id(self, call: CallItem, index: int | None) -> None:
        if call.call_id:
            self._by_id[call.call_id] = call
            if index is not None:
                self._by_index_and_id[index, call.call_id] = call
