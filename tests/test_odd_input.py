"""Nothing from outside may cause status 1. Odd content in every file that a run reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from oastream.cli import options_table
from tests.support import forked
from tests.support.program import FILE_OPTIONS, Environment
from tests.support.streams import chat_body, message, responses_body
from tests.support.wire import Server, serve, sse_response

DEEP = 100_000
CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "newline": b"\n",
    "null-byte": b"a\0b",
    "not-utf-8": b"caf\xe9",
    "byte-order-mark": b"\xef\xbb\xbf",
    "utf-16": "text".encode("utf-16"),
    "binary": bytes(range(256)) * 4,
    "words": b"some words",
    "long-line": b"x" * 2_000_000,
    "blanks": b" \n" * 500_000,
    "separators": "a\u2028b\u0085c\r\vd".encode(),
    "null": b"null",
    "true": b"true",
    "text": b'"text"',
    "number": b"1e999",
    "nan": b"NaN",
    "huge-integer": b"9" * 5_000,
    "huge-integer-inside": b'{"a":' + b"9" * 5_000 + b"}",
    "surrogate": b'{"type":"\\ud800","\\udfff":["\\ud800"],"name":"\\ud800"}',
    "escaped-null": b'{"\\u0000":"\\u0000","name":"\\u0000","type":"function"}',
    "list": b"[]",
    "list-of-anything": b'[null,true,1,"x",[],{}]',
    "object": b"{}",
    "an-object-of-objects": b'{"type":{},"properties":{},"input":{},"messages":{},"tools":{},"name":{},"text":{}}',
    "an-object-of-lists": b'{"type":[],"properties":[],"input":[],"messages":[],"tools":[],"name":[],"text":[]}',
    "an-object-of-numbers": b'{"type":1,"properties":1,"input":1,"messages":1,"tools":1,"name":1,"text":1,"n":1e99}',
    "an-object-of-nulls": b'{"type":null,"input":null,"messages":null,"tools":null,"name":null,"text":null,"n":null}',
    "an-object-of-texts": b'{"type":"","input":"","messages":"","tools":"","name":"","text":"","n":"","stream":""}',
    "deep-list": b"[" * DEEP + b"]" * DEEP,
    "deep-object": b'{"a":' * 990 + b"{}" + b"}" * 990,
    "deeper-object": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "torn": b'{"type":"object","prop',
    "twice": b"{}{}",
    "message": b'{"type":"message","role":"user","content":[{"type":null}]}\n',
    "tool-without-name": b'[{"type":"function"},{"type":"function","function":null},{"type":"function","function":{}}]',
    "tool-of-odd-name": b'[{"type":"function","name":"\\n","parameters":7,"strict":"x"}]',
    "page": b"<html><title>x",
    "toml": b'model = "m"\n[profile.x]\nmodel = 1\n',
    "toml-integer": b"retry = " + b"9" * 5_000 + b"\n",
    "toml-float": b"temperature = nan\nidle_timeout = inf\n",
    "toml-deep": b"set = " + b"[" * DEEP + b"]" * DEEP,
    "toml-key": b'"\\u0000" = 1\n',
    "toml-null": b'output = "\\u0000"\n',
    "toml-date": b"model = 1979-05-27\n",
    "toml-profile": b"profile = 1\n",
    "toml-set": b"[set]\n'a..b' = 1\n'' = 2\n",
    "toml-header": b"[header]\n'a b' = 'x'\n'x' = '\\n'\n",
    "toml-ok": b"ok = [9999999999999999999999, 'x', -1]\n",
}
SCHEMAS: dict[str, bytes] = {
    "ref-to-itself": b'{"$ref":"#"}',
    "ref-in-a-circle": b'{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}',
    "ref-to-nothing": b'{"$ref":"#/nowhere"}',
    "ref-elsewhere": b'{"$ref":"https://127.0.0.1:1/schema"}',
    "ref-to-a-file": b'{"$ref":"file:///etc/passwd"}',
    "ref-of-a-number": b'{"$ref":5}',
    "dynamic-ref": b'{"$dynamicRef":"#nowhere"}',
    "recursive-ref": b'{"$schema":"https://json-schema.org/draft/2019-09/schema","$recursiveRef":"#"}',
    "id-odd": b'{"$id":"::::","$ref":"x"}',
    "id-inside": b'{"$defs":{"x":{"$id":"x","type":"string"}},"$ref":"x"}',
    "unknown-dialect": b'{"$schema":"urn:nothing","type":"object"}',
    "vocabulary": b'{"$vocabulary":{"urn:x":true},"type":"object"}',
    "pattern-broken": b'{"type":"string","pattern":"("}',
    "pattern-of-classes": b'{"type":"string","pattern":"^\\\\p{L}+$"}',
    "pattern-that-grows": b'{"type":"string","pattern":"^(a+)+$"}',
    "pattern-that-looks-back": b'{"type":"string","pattern":"(?<=a)(a)\\\\1$"}',
    "format-unknown": b'{"type":"string","format":"no such"}',
    "multiple-of-0": b'{"type":"number","multipleOf":0}',
    "multiple-of-400-digits": b'{"type":"number","multipleOf":1' + b"0" * 400 + b"}",
    "multiple-of-little": b'{"type":"number","multipleOf":1e-400}',
    "minimum-of-400-digits": b'{"type":"integer","minimum":1' + b"0" * 400 + b"}",
    "huge-length": b'{"type":"string","minLength":99999999999999999999}',
    "negative-length": b'{"type":"string","minLength":-1}',
    "many": json.dumps({"type": "object", "properties": {str(n): {} for n in range(20_000)}}).encode(),
    "enum-of-anything": b'{"enum":[null,1e400,"\\ud800",[],{}]}',
    "required-of-numbers": b'{"type":"object","required":[1,2]}',
    "properties-false": b'{"type":"object","properties":{"a":false},"additionalProperties":5}',
    "name-odd": b'{"name":5,"schema":{"type":"object"},"strict":"x"}',
    "title-odd": b'{"title":["x"],"type":"object"}',
}
FILES: dict[str, tuple[str, ...]] = {**FILE_OPTIONS, "config": ("hi",)}
STATUSES = {"config": {0, 6}, "api-key-file": {0, 6}, "schema": {8, 14}, "replay": {8}, "output": {0}, "record": {0}}
INPUT = {0, 8}
"""Of the others: good enough to be sent, or not."""

ODD = {**CONTENTS, **{f"schema-{name}": content for name, content in SCHEMAS.items()}}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    """One for each API."""
    with serve(sse_response(responses_body(message("ok")))) as one, serve(sse_response(chat_body("ok"))) as other:
        yield {"responses": one, "chat": other}


@pytest.mark.parametrize("api", ["responses", "chat"])
@pytest.mark.parametrize("option", FILES)
def test_odd_content_is_no_bug(option: str, api: str, servers: dict[str, Server], tmp_path: Path) -> None:
    """Each is an answer, or ends in a line that says what is wrong with the file."""
    file = tmp_path / ("oastream/config.toml" if option == "config" else "odd")
    file.parent.mkdir(exist_ok=True)
    env: Environment = {"XDG_CONFIG_HOME": str(tmp_path), "OPENAI_BASE_URL": servers[api].url}
    args = ("--api", api, "--retry", "0", *FILES[option])
    wrong: dict[str, tuple[int, str]] = {}
    for name, content in ODD.items():
        file.write_bytes(content)
        result = forked.oastream(*(word.replace("{}", str(file)) for word in args), env=env, timeout=20)
        lines = result.err.splitlines()
        is_clear = result.status == 0 or (0 < len(lines) <= 2 and all(len(line) < 500 for line in lines))
        if result.status not in STATUSES.get(option, INPUT) or not (is_clear or result.status == 14):
            wrong[name] = (result.status, result.err[:600])
    assert wrong == {}


VALUES = (
    *(
        "\udcff",
        "",
        " ",
        "-",
        "--",
        "@",
        "@@",
        "@/nonexistent",
        "/",
        "/dev/null",
        ".",
        "~",
        "%s",
        "$HOME",
        "\n",
        "\x1b[31m",
    ),
    *("=", "a=", "=b", "a.b.c=1", "a..b=1", "0=1", "a.²=1", "a.99999999999999999999=1", "model.x=1", ":", "a:", ": b"),
    *("0", "-1", "1.5", "nan", "inf", "-inf", "1e999", "1_0", "٣", "²", "0x10", "9" * 5000),
    *("{", "{}", "[]", "null", '"\\ud800"', "\u2028", "\u202e", "é", "x" * 100_000),
    *("mock:", "mock:?", "mock:?end=nothing", "mock:?pace=nan", "http://", "https://[::1", "http://a:b@c/", "file:///"),
)
SHOWN = ("--show-config", "--format", "json")
OPTIONS = sorted(
    max(option.opts, key=len)
    for group in options_table.OPTIONS.values()
    for option in group
    if not option.is_flag and option.opts
)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_odd_value_is_no_bug(option: str, servers: dict[str, Server], tmp_path: Path) -> None:
    env: Environment = {"OPENAI_BASE_URL": servers["responses"].url, "HOME": str(tmp_path)}
    wrong: dict[str, tuple[int, str]] = {}
    for value in VALUES:
        for more in [(), SHOWN] if value in VALUES[:16] else [()]:
            given = (f"{option}={value}", *more)
            result = forked.oastream(*given, "--max-time", "5", "--", "hi", env=env, cwd=tmp_path, timeout=20)
            if result.status in (1, 3, 4, 5) or result.status < 0 or (result.status and not result.err):
                wrong[" ".join(given)[:80]] = (result.status, result.err[:600])
    assert wrong == {}
