"""The models that a server has: GET /models, with the statuses, retries and deadlines of any other request.

In: a request, and the parts that every attempt needs. Out: names, or the server's own objects, on stdout; the names in
a file, for completion. Refuses to know of streams.
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
from oastream.exits import Outcome, Verdict, failure_of
from oastream.files import replace_file
from oastream.http.request import Request
from oastream.output.formats import Format

MOST_REMEMBERED = 1000
"""Names kept for completion; OpenRouter has 400."""

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
            for name in names_of(self.models):
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
        """Get the list instead of an answer."""
        self.delivery.stats.attempts += 1
        return FetchAttempt(self.context, self._request, self._take_list).run()

    def _take_list(self, body: bytes) -> Verdict:
        output_format = self.delivery.format
        assert isinstance(output_format, ModelList)
        output_format.document = parse_document(body, "the list of models")
        output_format.models = _models_in(output_format.document)
        if self._cache is not None:
            remember_names(self._cache, names_of(output_format.models))
        return Verdict(Outcome.STOP)


def _models_in(document: Any) -> list[Model]:
    """The models of a list: {"data": […]}, Together's bare list, Ollama's own {"models": […]}."""
    entries = _entries_in(document)
    if entries is None:
        shown = one_line(str(document), 80)
        raise failure_of(Outcome.NOT_API, "the server sent JSON that is not a list of models", shown)
    return [_as_model(entry) for entry in entries]


def _entries_in(document: Any) -> list[Any] | None:
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        for key in ("data", "models"):
            entries = document.get(key)
            if isinstance(entries, list):
                return entries
    return None


def _as_model(entry: Any) -> Model:
    if isinstance(entry, dict):
        return entry
    return {"id": str(entry)}


def names_of(models: list[Model]) -> list[str]:
    """The name of each model, on one line each."""
    names = (model.get("id") or model.get("name") or model.get("model") for model in models)
    return [one_line(str(name)) for name in names if name]


# For completion --------------------------------------------------------------------------------------------------


def cache_file(environ: Mapping[str, str]) -> str | None:
    """$XDG_CACHE_HOME/oastream/models: one name a line, which completion reads. None where there is no home."""
    cache = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):  # the specification: a relative path is no path
        home = environ.get("HOME", "")
        if not os.path.isabs(home):
            return None
        cache = os.path.join(home, ".cache")
    return os.path.join(cache, "oastream", "models")


def remember_names(path: str, names: list[str]) -> None:
    """Keep the names, before those of other servers. A cache that cannot be written is no error."""
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        lines = list(dict.fromkeys([*names, *_read_names(path)]))[:MOST_REMEMBERED]
        replace_file(path, "".join(f"{line}\n" for line in lines).encode())


def _read_names(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line for line in file.read().split("\n") if line]
    except FileNotFoundError:
        return []
