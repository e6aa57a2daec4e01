"""The models that a server has: GET /models, with the statuses, retries and deadlines of any other request.

In: a session, a request. Out: ids, or the server's own objects, on stdout; the ids in a file, for completion.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from oastream.attempts.answer_settings import AnswerSettings
from oastream.attempts.attempt import AttemptContext
from oastream.attempts.attempts import Attempts, BackgroundSettings, RetrySettings
from oastream.attempts.delivery import Delivery
from oastream.attempts.poll import FetchAttempt
from oastream.display import one_line
from oastream.events.json_body import parse_document
from oastream.events.reply import Reply
from oastream.exits import Failure, Outcome, Verdict, failure_of
from oastream.files import replace_file
from oastream.http.request import Request
from oastream.output.formats import Format

REMEMBERED = 1000
"""Ids kept for completion; OpenRouter has 400."""

Model = dict[str, Any]


class ModelList(Format):
    """A list of models in one of the formats. It is no answer: no end record follows it."""

    def __init__(self, sanitized: bool, format: str) -> None:
        super().__init__(sanitized)
        self._format = format
        self.document: Any = None
        self.models: list[Model] = []

    def complete(self, reply: Reply) -> None:
        if self._format == "json":
            self._add_value(self.document)
        elif self._format == "ndjson":
            for model in self.models:
                self._add_value(model)
        else:
            for name in ids(self.models):
                self._pending.append(self._encode(name) + b"\n")


class FetchModels(Attempts):
    """Gets the list, in as many attempts as it takes, and remembers it in the file `cache`, if there is one."""

    def __init__(
        self,
        request: Request,
        context: AttemptContext,
        settings: AnswerSettings,
        retry: RetrySettings,
        delivery: Delivery,
        new_format: Callable[[], Format],
        cache: str | None,
    ) -> None:
        super().__init__(request, context, settings, retry, BackgroundSettings(), delivery, new_format)
        self._cache = cache

    def ask(self) -> Verdict:
        self.delivery.stats.attempts += 1
        return FetchAttempt(self._context, self._request, self._take).run()

    def _take(self, body: bytes) -> Verdict:
        output_format = self.delivery.format
        assert isinstance(output_format, ModelList)
        output_format.document = parse_document(body, "the list of models")
        output_format.models = _models(output_format.document)
        if self._cache is not None:
            remember(self._cache, ids(output_format.models))
        return Verdict(Outcome.STOP)


def _models(document: Any) -> list[Model]:
    """The models of a list: {"data": […]}, Together's bare list, Ollama's own {"models": […]}."""
    entries = document
    if isinstance(document, dict):
        entries = next((document[key] for key in ("data", "models") if isinstance(document.get(key), list)), None)
    if not isinstance(entries, list):
        raise _no_list(document)
    return [entry if isinstance(entry, dict) else {"id": str(entry)} for entry in entries]


def _no_list(document: Any) -> Failure:
    return failure_of(Outcome.NOT_API, "the server sent JSON that is not a list of models", one_line(str(document), 80))


def ids(models: list[Model]) -> list[str]:
    """The name of each model, on one line each."""
    names = (model.get("id") or model.get("name") or model.get("model") for model in models)
    return [one_line(str(name)) for name in names if name]


# For completion --------------------------------------------------------------------------------------------------


def cache_file(environ: Mapping[str, str]) -> str | None:
    """$XDG_CACHE_HOME/oastream/models: one id a line, which completion reads. None where there is no home."""
    cache = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):  # the specification: a relative path is no path
        home = environ.get("HOME", "")
        if not os.path.isabs(home):
            return None
        cache = os.path.join(home, ".cache")
    return os.path.join(cache, "oastream", "models")


def remember(path: str, names: list[str]) -> None:
    """Keep the ids, before those of other servers. A cache that cannot be written is no error."""
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        lines = list(dict.fromkeys([*names, *_cached(path)]))[:REMEMBERED]
        replace_file(path, "".join(f"{line}\n" for line in lines).encode())


def _cached(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line for line in file.read().split("\n") if line]
    except FileNotFoundError:
        return []
