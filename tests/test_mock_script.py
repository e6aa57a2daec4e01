"""What a user can write for the mock server: options, a script, a URL."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from oastream.exits import Outcome
from oastream.mock.answer import Answer, ToolCall
from oastream.mock.endings import ENDS
from oastream.mock.faults import DEADLINE_PACE, HALF, AttemptKind, Fault
from oastream.mock.script import plan_from_options, plan_from_url

STREAM, POLL, CANCEL = AttemptKind


def test_mock_alone_is_the_echo() -> None:
    assert plan_from_url("mock:").attempt(STREAM, 0) == Fault()


def test_a_url_takes_the_command_lines_options() -> None:
    fault = plan_from_url("mock:?end=length&pace=0.05&reply=a%20b&delay=1").attempt(STREAM, 3)
    assert fault == Fault(end=Outcome.LENGTH, pace=0.05, delay=1.0, reply=Answer("a b"))


def test_attempts_come_in_order_and_the_last_repeats() -> None:
    made = plan_from_url("mock:?fault=status%3D429,headers=Retry-After:%201&fault=cut_events=half,cut=rst&fault=ok")
    first, second, third, fourth = (made.attempt(STREAM, n) for n in range(4))
    assert (first.status, first.headers) == (429, {"Retry-After": "1"})
    assert (second.cut_events, second.cut) == (HALF, "rst")
    assert third == fourth == Fault()


def test_cycle_starts_over() -> None:
    made = plan_from_options(faults=["status=500", "ok"], cycle=True)
    assert [made.attempt(STREAM, n).status for n in range(4)] == [500, None, 500, None]


def test_no_cycle_takes_back_what_a_script_says(tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text("cycle = true\n[[attempt]]\nstatus = 500\n[[attempt]]\n")
    for cycle, last in ((None, 500), (False, None)):
        made = plan_from_options(script=str(path), cycle=cycle)
        assert [made.attempt(STREAM, n).status for n in range(3)] == [500, None, last]


def test_an_attempt_ends_as_the_plan_says_unless_it_has_an_end_of_its_own() -> None:
    made = plan_from_options(end="idle", faults=["status=429", "pace=0.1", "end=length"])
    assert [made.attempt(STREAM, n).stall_after for n in range(3)] == [None, HALF, None]


def test_polls_and_cancels_have_attempts_of_their_own() -> None:
    made = plan_from_options(end="idle", faults=["on=poll,status=503", "on=poll"])
    assert made.attempt(POLL, 0).status == 503
    assert made.attempt(POLL, 1) == Fault(POLL)
    assert made.attempt(CANCEL, 0) == Fault(CANCEL)
    assert made.attempt(STREAM, 0).stall_after == HALF


def test_a_value_may_hold_commas() -> None:
    fault = plan_from_options(
        faults=['status=400,body={"error":{"code":"x","n":1}},message=well, no,keep_open']
    ).attempt(STREAM, 0)
    assert (fault.body, fault.message, fault.keep_open) == ('{"error":{"code":"x","n":1}}', "well, no", True)


def test_headers_and_places_can_be_repeated() -> None:
    fault = plan_from_options(faults=["headers=A: 1,headers=B: 2,skip=1+2,skip=5"]).attempt(STREAM, 0)
    assert (fault.headers, fault.skip) == ({"A": "1", "B": "2"}, (1, 2, 5))


def test_a_script_holds_attempts_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(
        'reply = "hello"\npace = 0.5\n[[attempt]]\nstatus = 429\nheaders = { Retry-After = "1" }\n'
        "[[attempt]]\nstall_after = 2\ncomments = 0.1\nstall = inf\nskip = [1, 2]\n"
        'reply = { tool_calls = [{ name = "f" }] }\n'
    )
    made = plan_from_options(script=str(file), pace="0")
    first, second = made.attempt(STREAM, 0), made.attempt(STREAM, 1)
    assert (first.status, first.headers, first.pace, first.reply) == (429, {"Retry-After": "1"}, 0.0, Answer("hello"))
    assert (second.stall_after, second.stall, second.skip) == (2, math.inf, (1, 2))
    assert second.reply == Answer(calls=(ToolCall("f", "{}"),))


def test_a_reply_can_be_a_text_file_or_an_answer_object(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("from a file\n")
    answer = {
        "text": "t",
        "reasoning": "r",
        "tool_calls": [{"name": "f", "arguments": {"city": "北京"}}, {"name": "sql", "input": "select 1"}],
        "usage": {"input_tokens": 7},
    }
    (tmp_path / "a.json").write_text(json.dumps(answer))
    assert plan_from_options(reply=f"@{tmp_path}/a.txt").attempt(STREAM, 0).reply == Answer("from a file\n")
    assert plan_from_options(reply=f"@{tmp_path}/a.json").attempt(STREAM, 0).reply == Answer(
        "t", "r", calls=(ToolCall("f", '{"city":"北京"}'), ToolCall("sql", "select 1", True)), usage={"input_tokens": 7}
    )


def test_deadline_drips() -> None:
    assert plan_from_options(end="deadline").attempt(STREAM, 0).pace == DEADLINE_PACE


def test_every_end_makes_a_plan() -> None:
    for outcome in ENDS:
        assert plan_from_options(end=outcome.value).attempt(STREAM, 0).end is outcome


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mock:?end=nope", "--end: 'nope' is not one of stop, length"),
        ("mock:?end=tls", "--end: 'tls' is not one of"),
        ("mock:?pace=fast", "--pace: 'fast' is not a number of seconds"),
        ("mock:?pace=-1", "--pace: '-1' is not seconds"),
        ("mock:?delay=nan", "--delay: 'nan' is not seconds"),
        ("mock:?speed=1", "no such key in a mock URL: speed"),
        ("mock://host", "a mock URL is mock: or mock:?NAME=VALUE, with & before each further NAME"),
        ("mock:?fault=statsu=429", "no such key in --fault: statsu"),
        ("mock:?fault=status=42", "--fault: status: '42' is not an HTTP status"),
        ("mock:?fault=cut=off", "--fault: cut: 'off' is not one of fin, drop"),
        ("mock:?fault=skip=1%2Bx", "--fault: skip: '1+x' is not a whole number"),
        ("mock:?fault=comments=0", "--fault: comments: '0' is not more than 0 seconds"),
        ("mock:?fault=no_done=perhaps", "--fault: no_done: 'perhaps' is not true or false"),
        ("mock:?fault=malformed=x", "--fault: malformed: 'x' is not the number of an event, or half"),
        ("mock:?fault=headers=no%20colon", "--fault: headers: 'no colon' is not HTTP headers"),
        ("mock:?fault=headers=Retry-After", "--fault: headers: 'Retry-After' is not HTTP headers"),
        ("mock:?fault=endless,framing=length", "framing: an endless answer has no length"),
        ("mock:?reply=@/no/such/file", "--reply: '@/no/such/file' is not a readable file: /no/such/file: No such file"),
        ("mock:?script=/no/such/file", "--script: not a readable file: /no/such/file: No such file"),
        ("mock:?cycle=x", "cycle: 'x' is not true or false"),
    ],
)
def test_a_mistake_is_one_clear_line(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".+") as error:
        plan_from_url(url)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "not TOML"),
        ("speed = 1", "no such key in {}: speed; known keys: reply, pace"),
        ("attempt = 1", "{}: attempt: write [[attempt]]"),
        ("[[attempt]]\n[[attempt]]\nstatus = true", "{}: attempt 2: status: 'true' is not a whole number"),
        ("[[attempt]]\nnope = 1", "no such key in {}: attempt 1: nope"),
        ("reply = { text = 1 }", "{}: reply:"),
        ('reply = { texts = "x" }', "{}: reply:"),
        ("reply = { tool_calls = [{}] }", "{}: reply:"),
        ("end = 3", "{}: end: '3' is not one of"),
    ],
)
def test_a_mistake_in_a_script_names_the_file_and_the_attempt(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "f.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r".+") as error:
        plan_from_options(script=str(file))
    assert message.format(file) in str(error.value)


def test_faults_and_a_scripts_attempts_exclude_each_other(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text("[[attempt]]\n")
    with pytest.raises(ValueError, match="give one of them"):
        plan_from_options(script=str(file), faults=["ok"])
