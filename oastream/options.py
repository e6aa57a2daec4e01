"""What the user asked for: one frozen record, made at the edge and trusted inside.

Knows nothing of Click, of files or of the network. Its annotations are evaluated: as texts, NamedTuple would compile
each, 3 million instructions.
"""

from typing import NamedTuple

from oastream.exits import Outcome, Verdict

ANY_LANGUAGE = "*"
"""--extract without a language."""


class Options(NamedTuple):
    """Every option of `oastream`, converted and checked. Times are in seconds; 0 switches a limit off."""

    # prompt
    prompt: tuple[str, ...]
    no_stdin: bool
    file: tuple[str, ...]
    input_encoding: str
    attach: tuple[str, ...]
    attach_type: tuple[str, ...]
    # request
    api: str
    model: str | None
    system: str | None
    max_output_tokens: int | None
    temperature: float | None
    top_p: float | None
    reasoning_effort: str | None
    tools: str | None
    tool_choice: str | None
    schema: str | None
    schema_multi: str | None
    previous_response_id: str | None
    history: str | None
    no_wait: bool
    tool_output: tuple[tuple[str, str], ...]
    set: tuple[tuple[str, str], ...]
    body: str | None
    header: tuple[tuple[str, str], ...]
    dry_run: bool
    # background
    background: bool
    detach: bool
    resume: str | None
    # server; an empty base URL is the provider's own
    base_url: str
    api_key_file: str | None
    api_key_cmd: str | None
    provider: str | None
    insecure_http: bool
    list_models: bool
    # output
    format: str
    output: str | None
    hold: bool
    keep_partial: bool
    eager: bool
    extract: str | None
    reasoning: bool
    stats: str | None
    sanitize: str
    ok: frozenset[Outcome]
    verbose: int
    quiet: bool
    # time
    connect_timeout: float
    first_event_timeout: float
    idle_timeout: float
    max_time: float
    retry: int
    retry_delay: float
    retry_max_time: float
    max_event_bytes: int
    # recordings
    record: str | None
    replay: str | None
    realtime: bool
    # configuration: what is wrong with a variable or with the file, to be said once the output is open
    misconfigured: Verdict | None = None
