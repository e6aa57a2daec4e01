"""An item and the options → its request: which API it is for, its body, and what will read the reply.

In: items, the request options of the command line. Out: `Prepared` requests, the same for every server. The rules of a
body are the single run's (`input.body`, `apis`); files that options name are read once. Sends nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from oastream.apis import api_at, api_named
from oastream.apis.api import Api
from oastream.apis.body_fields import choices_asked_for, offered_tools
from oastream.batch.input import VERSION, Item
from oastream.batch.keys import request_hash
from oastream.batch.reading import Reader, Reading
from oastream.events.reply import Reply
from oastream.exits import Failure, Outcome, Verdict, failure_of
from oastream.input.body import BodySettings, build_body, encode_body, user_message

Body = dict[str, Any]
_OUTPUT_LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")


class Prepared(NamedTuple):
    """An item's request. `request` is HASH, `output_limit` the most tokens it asks for."""

    body: bytes
    request: str
    path: str
    output_limit: int | None
    new_reading: Callable[[float], Reading]
    """What reads one reply, made at the moment at which the request is sent."""


class Unsuitable(Failure):
    """A request that is good in itself, and does not go with the options of the run."""


class Preparer:
    """Lays the options over each item's body. `base` is --body, `api` is --api: that of an item that is a prompt.

    `needs_text` is the --format that has no use for an answer without text, such as an embedding.
    """

    def __init__(
        self, settings: BodySettings, base: Body, api: str, reader: Reader, needs_text: str | None = None
    ) -> None:
        self._settings = settings
        self._base = base
        self._own_api = api
        self._reader = reader
        self._needs_text = needs_text
        # One for all bodies that ask for the same: most do, and thousands are in flight.
        self._reading_of = functools.lru_cache(maxsize=64)(self._make_reading_of)

    def prepare(self, item: Item) -> Prepared:
        """The request. Raises `Failure` with outcome input or usage for a body that the options do not fit on."""
        api: Api | None = api_named(self._own_api)
        if item.url:
            api = api_at(item.url.removeprefix(VERSION))
        if api is None:
            return self._prepare_plain(item)
        base = self._base if item.body is None else {**self._base, **item.body}
        if base.get("background"):
            raise failure_of(Outcome.INPUT, "its body asks for a background response", "a batch polls none")
        body = build_body(api, self._settings, user_message(item.prompt, ()), base)
        in_one_piece = item.body is not None and item.body.get("stream") is False
        if in_one_piece:
            _take_stream_off(body, item.body or {})
        return self._make_prepared(body, api.path, self._how_to_read(api, body, in_one_piece))

    def _prepare_plain(self, item: Item) -> Prepared:
        """A request that is sent as it is, to a path that is neither API's."""
        if self._needs_text is not None:
            why = f"--format {self._needs_text} needs answers that are text"
            raise Unsuitable(Verdict(Outcome.USAGE, f"an item for {item.url}", why))
        path = item.url.removeprefix(VERSION)
        return self._make_prepared(item.body or {}, path, self._new_plain_reading)

    def _make_prepared(self, body: Body, path: str, new_reading: Callable[[float], Reading]) -> Prepared:
        # Copied: orjson's own bytes hold on to 4 kB however short they are, and thousands are in flight.
        data = bytes(memoryview(encode_body(body)))
        return Prepared(data, request_hash(data), path, _output_limit(body), new_reading)

    def _how_to_read(self, api: Api, body: Body, in_one_piece: bool) -> Callable[[float], Reading]:
        """What reads the reply to a body, of which only this is kept while it is in flight."""
        choices = choices_asked_for(body)
        limit = _output_limit(body) if choices == 1 else None
        return self._reading_of(api.ends_with_whole_answer, choices, limit, offered_tools(body), in_one_piece)

    def _make_reading_of(self, *expected: Any) -> Callable[[float], Reading]:
        return partial(self._new_reading, *expected)

    def _new_reading(
        self,
        ends_with_whole_answer: bool,
        choices: int,
        limit: int | None,
        offered: frozenset[str] | None,
        in_one_piece: bool,
        now: float,
    ) -> Reading:
        reply = Reply(limit, prints_deltas=False, keep_text=True, offered=offered)
        if ends_with_whole_answer:
            return self._reader.responses(now, reply, in_one_piece)
        return self._reader.chat(now, reply, choices, in_one_piece)

    def _new_plain_reading(self, now: float) -> Reading:
        return self._reader.plain(now, Reply(prints_deltas=False))


def _take_stream_off(body: Body, given: Body) -> None:
    body["stream"] = False
    if "stream_options" not in given:
        body.pop("stream_options", None)  # servers refuse it where nothing streams


def _output_limit(body: Body) -> int | None:
    for name in _OUTPUT_LIMITS:
        limit = body.get(name)
        if isinstance(limit, int) and not isinstance(limit, bool):
            return limit
    return None
