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
_TOO_MANY_TOKENS = 2**40
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

    `needs_text` is the --format that has no use for an answer without text, such as an embedding. `never_streams` is
    for whoever brings answers whole only: `stream` is in no body then.
    """

    def __init__(
        self,
        settings: BodySettings,
        base: Body,
        api: str,
        reader: Reader,
        needs_text: str | None = None,
        never_streams: bool = False,
    ) -> None:
        self._settings = settings
        self._base = base
        self._own_api = api
        self._reader = reader
        self._needs_text = needs_text
        self._never_streams = never_streams
        # One for all bodies that ask for the same: most do, and thousands are in flight.
        self._reading_of = functools.lru_cache(maxsize=64)(self._make_reading_of)

    def prepare(self, item: Item) -> Prepared:
        """The request. Raises `Failure` with outcome input or usage for a body that the options do not fit on."""
        api = self._api_of(item)
        body = self._build_body(item, api)
        # Copied: orjson's own bytes hold on to 4 kB however short they are, and thousands are in flight.
        data = bytes(memoryview(encode_body(body)))
        request, limit = request_hash(data), _output_limit(body)
        if api is None:
            return Prepared(data, request, item.url.removeprefix(VERSION), limit, self._new_plain_reading)
        new_reading = self._how_to_read(api, body, self._never_streams or _is_in_one_piece(item))
        return Prepared(data, request, api.path, limit, new_reading)

    def request_of(self, item: Item) -> str:
        """HASH of the request alone, and raises as `prepare` does: all that is needed of an item with an answer."""
        return request_hash(encode_body(self._build_body(item, self._api_of(item))))

    def _api_of(self, item: Item) -> Api | None:
        """None for an item that is sent as it is, to a path that is neither API's."""
        if item.url:
            return api_at(item.url.removeprefix(VERSION))
        return api_named(self._own_api)

    def _build_body(self, item: Item, api: Api | None) -> Body:
        given = item.body
        if api is None:
            self._check_plain(item)
            return given or {}
        base = self._base if given is None else self._base | given
        body = build_body(api, self._settings, user_message(item.prompt, ()), base)
        if body.get("background"):
            raise _background_failure(given)
        if self._never_streams:
            body.pop("stream", None)
            body.pop("stream_options", None)
        elif given is not None and _is_in_one_piece(item):
            _take_stream_off(body, given)
        return body

    def _check_plain(self, item: Item) -> None:
        if self._needs_text is not None:
            why = f"--format {self._needs_text} needs answers that are text"
            raise Unsuitable(Verdict(Outcome.USAGE, f"an item for {item.url}", why))

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


def _is_in_one_piece(item: Item) -> bool:
    """Whether the body that the line brings asks not to stream: only it can, for this item."""
    return item.body is not None and item.body.get("stream") is False


def _background_failure(given: Body | None) -> Failure:
    """Of a body as it was given, or of the options."""
    if given is not None and given.get("background"):
        return failure_of(Outcome.INPUT, "its body asks for a background response", "a batch polls none")
    return Unsuitable(Verdict(Outcome.USAGE, "the options ask for a background response", "a batch polls none"))


def _take_stream_off(body: Body, given: Body) -> None:
    body["stream"] = False
    if "stream_options" not in given:
        body.pop("stream_options", None)  # servers refuse it where nothing streams


def _output_limit(body: Body) -> int | None:
    """The most tokens that a body asks for; what no server can mean is for the server to refuse."""
    for name in _OUTPUT_LIMITS:
        limit = body.get(name)
        if isinstance(limit, int) and not isinstance(limit, bool) and 0 < limit < _TOO_MANY_TOKENS:
            return limit
    return None
