"""Fragments of tool calls → the call that each one belongs to.

In: the fragments of one choice, in order. Out: the call that a fragment continues, or none if it begins a new one.
Refuses to know what becomes of a call. Three fields tell calls apart, index, id and name, and each of them is missing,
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
        """Remember a call that a fragment has begun at `index`."""
        self.latest = call
        if index is not None:
            self._by_index[index] = call
        self._learn_id(call, index)

    def merge_head(self, call: CallItem, head: CallHead) -> None:
        """Take what a later fragment adds to a call's id and name.

        Baseten and OpenRouter repeat both in every fragment, which adds nothing. Where the id changes on the way
        (Poolside, mlx-openai-server) the first one stays: it has been printed.
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
        """The call that a fragment continues, None when it begins a new one. The first line that fits decides:

        ======  ==================  =======================  ==========================================
        index   id                  name                     call
        ======  ==================  =======================  ==========================================
        none    known               any                      the one of that id
        none    new or none         some                     a new one
        none    new or none         none                     the latest
        known   none                another, after           a new one
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
            return None  # even if its id is known: Gemini behind OpenRouter gives two calls one id
        if call_id:
            return self._by_id.get(call_id)
        return self.latest  # SGLang #6310 begins a call at one index and continues it at another

    def _find_without_index(self, call_id: str, name: str) -> CallItem | None:
        """Gemini, Mistral and Ollama < 0.4.7 send no index, nor did the API before tools."""
        if call_id in self._by_id:
            return self._by_id[call_id]
        if name:
            return None
        return self.latest

    def _find_at_index(self, at_index: CallItem, index: int, call_id: str, name: str) -> CallItem | None:
        if not call_id:
            # Alibaba and vLLM continue with id "". Where there are no ids at all and every call has index 0, only a
            # name tells that another one begins.
            if name and at_index.name and name != at_index.name and at_index.pieces:
                return None
            return at_index
        known = self._by_index_and_id.get((index, call_id))
        if known is not None:
            return known
        # Older Ollama and LiteLLM send index 0 for every call, each with an id and a name of its own. Poolside and
        # mlx-openai-server change a call's id on the way, but name the tool only once.
        if name and at_index.call_id:
            return None
        return at_index

    def _learn_id(self, call: CallItem, index: int | None) -> None:
        if call.call_id:
            self._by_id[call.call_id] = call
            if index is not None:
                self._by_index_and_id[index, call.call_id] = call
