"""The question of a run: prompt, attachments, outputs of tools, the conversation so far, the form of the answer.

In: options, and what stdin is. Out: the body of the request; later the verdict of the schema, and the conversation with
the answer in it. What is wrong with any of them is found before anything is sent. Loads only what the options ask for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oastream.apis import api_named
from oastream.apis.api import Body, Item
from oastream.events.reply import Reply
from oastream.exits import Outcome, Verdict, exit_status
from oastream.input.body import base_body, brings_input, build_body, read_body_settings, text_or_file, user_message
from oastream.input.prompt import InputReader, StdinKind, read_prompt, waiting_notice
from oastream.options import Options
from oastream.output.stderr import Reporter
from oastream.watch import Watch

if TYPE_CHECKING:
    from oastream.input.history import History
    from oastream.input.item_schema import ItemSchema
    from oastream.input.schema import Schema


class Question:
    """What is asked, and what becomes of the answer besides its output."""

    def __init__(self, options: Options, watch: Watch, reporter: Reporter) -> None:
        self._options = options
        self._watch = watch
        self._reporter = reporter
        self._schema: Schema | None = None
        """What the whole answer is checked against."""
        self._asked: Schema | None = None
        """What is asked for, which is the same but where a format checks item by item."""
        self.item_schema: ItemSchema | None = None
        self._history: History | None = None
        self._said: list[Item] = []

    def body(self, stdin: StdinKind, deadline: float) -> Body:
        """The request's body. Raises `Failure`: usage, input, or what ended a wait for input or for the history."""
        options = self._options

        def notice() -> None:
            if not options.quiet:
                self._reporter.line(waiting_notice(options, stdin))

        reader = InputReader(self._watch, options.input_encoding, notice, deadline)
        self._read_schemas(reader)
        body = {}
        if not (options.resume or options.replay or options.list_models):
            body = self._new_body(stdin, reader, deadline)
        self._warn_of_strict_mode()
        return body

    def _new_body(self, stdin: StdinKind, reader: InputReader, deadline: float) -> Body:
        """The body of a request that asks something."""
        options = self._options
        base = base_body(options, reader.file)
        says_more = brings_input(base) or options.attach or options.tool_output
        prompt = read_prompt(options, stdin, reader, required=not says_more)
        message = user_message(prompt, self._read_attachments(reader))
        outputs = [(call_id, text_or_file("--tool-output", text, reader.file)) for call_id, text in options.tool_output]
        earlier = self._open_conversation(deadline)
        self._said = [*self._tool_outputs(outputs, earlier), *message]
        settings = read_body_settings(options, reader.file, self._asked)
        return build_body(api_named(options.api), settings, [*earlier, *self._said], base)

    @property
    def needs_text(self) -> bool:
        """Whether the text of the whole answer is looked at in the end, or kept."""
        return self._schema is not None or self._options.history is not None

    def with_schema_verdict(self, verdict: Verdict, reply: Reply) -> Verdict:
        """The verdict of an answer, or that of the schema: among those that hold, the lowest number counts.

        The schema is about an answer in text; a call has a schema of its own.
        """
        if self._schema is None or reply.awaits_client:
            return verdict
        if 0 < exit_status(verdict) < exit_status(Verdict(Outcome.SCHEMA)):
            return verdict
        hint = api_named(self._options.api).schema_hint(reply.response())
        mismatch = self._schema.verdict(reply.text, hint)
        if mismatch is None:
            return verdict
        return mismatch._replace(request_id=verdict.request_id)

    def stage(self, reply: Reply) -> None:
        """Write down what was said and answered; it is part of the conversation with `commit`."""
        if self._history is not None:
            self._history.stage(self._said, reply.response()["output"])

    def commit(self) -> None:
        if self._history is not None:
            self._history.commit()

    def close(self) -> None:
        """Release the lock on the conversation."""
        if self._history is not None:
            self._history.close()

    # The parts ---------------------------------------------------------------------------------------------------

    def _read_schemas(self, reader: InputReader) -> None:
        options = self._options
        if options.schema is not None:
            from oastream.input.schema import read_schema

            self._schema = self._asked = read_schema(options.schema, reader.file)
        elif options.schema_multi is not None:
            from oastream.input.item_schema import read_item_schema

            self.item_schema = read_item_schema(options.schema_multi, reader.file)
            self._asked = self.item_schema.asked
            if options.format != "text":  # which has no lines of items: the answer is checked as a whole
                self._schema = self._asked

    def _warn_of_strict_mode(self) -> None:
        """Once stdin has ended: until then others use the terminal."""
        if self._asked is None:
            return
        warnings = self._asked.strict_mode_warnings()
        if not warnings:
            return
        text = f"--schema breaks the rules of OpenAI's strict mode: {warnings[0]}"
        if len(warnings) > 1:
            text += f" (and {len(warnings) - 1} more)"
        self._reporter.line_if_watched(text)

    def _read_attachments(self, reader: InputReader) -> list[Item]:
        if not self._options.attach:
            return []
        from oastream.input.attach import read_attachments

        return read_attachments(self._options, reader.data)

    def _open_conversation(self, deadline: float) -> list[Item]:
        """What was said before; from here on no other run has the file."""
        options = self._options
        if options.history is None:
            return []
        from oastream.input.history import History

        history = self._history = History(options.history)
        if options.dry_run:
            history.read_only()
        else:
            history.open(self._watch, deadline, not options.no_wait, self._reporter.line_if_watched)
        return history.items

    def _tool_outputs(self, outputs: list[tuple[str, str]], earlier: list[Item]) -> list[Item]:
        if not outputs:
            return []
        from oastream.input.history import output_items

        return output_items(outputs, earlier, self._options.history)
