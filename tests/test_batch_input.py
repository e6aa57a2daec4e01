"""The input of a batch: every form, every line that is none, cut anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oastream.batch.input import BadLine, InputForm, Item, guess_form, read_items, split_lines
from oastream.batch.template import Template


def read(data: bytes, name: str, **form: Any) -> list[Item | BadLine]:
    return list(read_items([data], InputForm(name, **form)))


def items(data: bytes, name: str, **form: Any) -> list[Item]:
    found = read(data, name, **form)
    assert all(isinstance(item, Item) for item in found), found
    return [item for item in found if isinstance(item, Item)]


def why(data: bytes, name: str, **form: Any) -> str:
    (bad,) = read(data, name, **form)
    assert isinstance(bad, BadLine), bad
    return f"{bad.line}: {bad.why}"


LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}'


def test_a_line_of_the_batch_api() -> None:
    (item,) = items(LINE + b"\n", "batch")
    assert item == Item("a", 1, "/v1/chat/completions", {"model": "m", "messages": []})


def test_without_a_url_the_body_says_which_api() -> None:
    chat, responses = items(
        b'{"custom_id":"a","body":{"messages":[]}}\n{"custom_id":"b","body":{"input":"x"}}', "batch"
    )
    assert (chat.url, responses.url) == ("/v1/chat/completions", "/v1/responses")


def test_any_other_path_is_kept() -> None:
    (item,) = items(b'{"custom_id":"a","url":"/v1/embeddings","body":{"input":"x"}}', "batch")
    assert item.url == "/v1/embeddings"


def test_ids_that_are_numbers_are_text() -> None:
    one, two = items(b'{"id":7,"q":"x"}\n{"custom_id":1.5,"q":"y"}\n', "json", prompt_key="q")
    assert (one.custom_id, two.custom_id) == ("7", "1.5")


def test_an_id_is_custom_id_else_id_else_the_line() -> None:
    found = items(b'{"custom_id":"a","id":"b","q":"1"}\n\n{"id":"b","q":"2"}\n{"q":"3"}\n', "json", prompt_key="q")
    assert [(item.custom_id, item.line) for item in found] == [("a", 1), ("b", 3), ("line-4", 4)]


def test_the_field_of_the_id_key_is_not_sent() -> None:
    (item,) = items(b'{"key":"k1","model":"m","input":"x"}', "body", id_key="key")
    assert item.custom_id == "k1"
    assert item.body == {"model": "m", "input": "x"}


def test_a_body_without_an_id_is_named_by_its_line() -> None:
    assert [item.custom_id for item in items(b'\n{"input":"x"}\n', "body")] == ["line-2"]


def test_every_digit_of_a_body_is_kept() -> None:
    (item,) = items(b'{"input":"x","metadata":{"n":123456789012345678901234567890}}', "body")
    assert item.body is not None
    assert item.body["metadata"] == {"n": 123456789012345678901234567890}


def test_a_template_fills_in_fields() -> None:
    template = Template("Say {{hi}} to {name}: {n} {list}")
    (item,) = items('{"name":"Zoë","n":3,"list":[1,"ü"]}'.encode(), "json", template=template)
    assert item.prompt == 'Say {hi} to Zoë: 3 [1,"ü"]'


def test_lines_are_prompts() -> None:
    found = items(b"one\r\n\n  two \n", "text")
    assert [(item.prompt, item.custom_id, item.row) for item in found] == [
        ("one", "line-1", {"prompt": "one"}),
        ("  two ", "line-3", {"prompt": "  two "}),
    ]


def test_prompts_that_end_in_nul_have_newlines() -> None:
    assert [item.prompt for item in items(b"a\nb\0c\n\0", "text", ends_in_nul=True)] == ["a\nb", "c\n"]


def test_a_quoted_field_of_a_table_holds_newlines_and_the_line_is_its_first() -> None:
    data = b'id,prompt\n1,"two\nlines, and a comma"\n\n2,"say ""x"""\n'
    found = items(data, "csv")
    assert [(item.custom_id, item.prompt, item.line) for item in found] == [
        ("1", "two\nlines, and a comma", 2),
        ("2", 'say "x"', 5),
    ]
    assert found[0].row == {"id": "1", "prompt": "two\nlines, and a comma"}


def test_tabs_part_the_fields_of_a_tsv() -> None:
    (item,) = items(b"a\tq\r\nx, y\tz\r\n", "tsv", prompt_key="q", id_key="a")
    assert (item.custom_id, item.prompt) == ("x, y", "z")


def test_a_long_field_is_no_mistake() -> None:
    (item,) = items(b"prompt\n" + b"x" * 1_000_000, "csv")
    assert len(item.prompt or "") == 1_000_000


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert items(b"\xef\xbb\xbf" + LINE, "batch")[0].custom_id == "a"
    assert items(b"\xef\xbb\xbfprompt\nx\n", "csv")[0].row == {"prompt": "x"}


BAD = {
    "not JSON": (b"{", "batch", "it is not JSON"),
    "NaN": (b'{"custom_id":"a","body":{"input":NaN}}', "batch", "it is not JSON"),
    "a list": (b"[]", "json", "it is no JSON object"),
    "not UTF-8": (b'{"custom_id":"\xff"}', "batch", "it is not UTF-8"),
    "no id": (b'{"body":{"input":"x"}}', "batch", "it has no custom_id"),
    "an empty id": (b'{"custom_id":"","body":{"input":"x"}}', "batch", "it has no custom_id"),
    "an id that is a list": (b'{"custom_id":[],"body":{"input":"x"}}', "batch", "it has no custom_id"),
    "no body": (b'{"custom_id":"a"}', "batch", "it has no body, which must be an object"),
    "another method": (b'{"custom_id":"a","method":"GET","body":{"input":1}}', "batch", "its method is GET, not POST"),
    "a url that is no path": (
        b'{"custom_id":"a","url":"http://x/","body":{"input":"x"}}',
        "batch",
        "its url is no path, such as /v1/responses",
    ),
    "no API": (b'{"custom_id":"a","body":{}}', "batch", "it has no url, and its body neither input nor messages"),
    "no prompt in a body": (b'{"model":"m"}', "body", "it is no request body: it has neither input nor messages"),
    "text that is not UTF-8": (b"\xff", "text", "it is not UTF-8"),
    "no prompt": (b'{"q":"x"}', "json", "it has no 'prompt'; --prompt-key names the field with the prompt"),
    "an empty prompt": (b'{"prompt":" "}', "json", "its prompt is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_line_that_is_no_item_says_why(case: str) -> None:
    line, form, reason = BAD[case]
    assert why(b"\n" + line + b"\n", form) == f"2: {reason}"


def test_a_missing_field_of_a_template_is_named() -> None:
    assert why(b'{"a":1}', "json", template=Template("{b}")) == "1: it has no field 'b', which the template names"


def test_an_id_key_that_a_line_lacks_is_named() -> None:
    assert why(b'{"prompt":"x"}', "json", id_key="key") == "1: it has no id in 'key'"


def test_the_lines_after_a_bad_one_are_read() -> None:
    bad, good = read(b'x\n{"id":"a","prompt":"y"}\n', "json")
    assert isinstance(bad, BadLine)
    assert isinstance(good, Item)


TABLES = {
    "too many fields": (b"a,prompt\n1,2,3\n4,5\n", "2: it has 3 fields where the header has 2"),
    "two columns of one name": (b"a,a\n1,2\n", "1: two columns of the header have the same name"),
    "not UTF-8": (b"prompt\n\xff\ngood\n", "2: it is not UTF-8"),
    "a header that is not UTF-8": (b"\xff\nx\n", "1: it is not UTF-8"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_row_that_is_none_says_why(case: str) -> None:
    data, expected = TABLES[case]
    bad = read(data, "csv")[0]
    assert isinstance(bad, BadLine)
    assert f"{bad.line}: {bad.why}" == expected


def test_a_quote_that_nothing_closes_is_a_bad_row() -> None:
    bad = read(b'prompt\n"x\n', "csv")[-1]
    assert isinstance(bad, BadLine)


@pytest.mark.parametrize("text", ["{", "a {b", "{}", "{a{b}"])
def test_a_template_with_an_open_brace_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names no field"):
        Template(text)


@given(st.dictionaries(st.text(min_size=1).filter(lambda t: "{" not in t and "}" not in t), st.text()), st.text())
def test_a_template_gives_back_what_braces_protect(row: dict[str, str], text: str) -> None:
    protected = text.replace("{", "{{").replace("}", "}}")
    names = list(row)
    template = Template(protected + "".join(f"{{{name}}}{protected}" for name in names))
    assert template.fill(row) == text + "".join(row[name] + text for name in names)


@pytest.mark.parametrize(
    ("line", "form"),
    [
        (b'{"messages":[]}', "body"),
        (b'{"input":"x"}', "body"),
        (LINE, "batch"),
        (b'{"body":1,"input":2}', "batch"),
        (b"x", "batch"),
        (b"[]", "batch"),
        (b"\xff", "batch"),
    ],
)
def test_only_body_is_guessed(line: bytes, form: str) -> None:
    assert guess_form(line) == form


@given(st.lists(st.binary(max_size=8)), st.sampled_from([b"\n", b"\0"]))
def test_lines_are_the_same_however_they_arrive(chunks: list[bytes], terminator: bytes) -> None:
    whole = b"".join(chunks)
    lines = list(split_lines(chunks, terminator))
    if not whole.startswith(b"\xef"):
        expected = whole.split(terminator)
        assert lines == (expected if expected[-1] else expected[:-1])


def test_an_item_is_read_when_its_line_is_there() -> None:
    """A pipe may stand still behind a line: nothing may wait for the next one."""

    def pipe() -> Any:
        yield b'{"input":"x"}\n{"in'
        raise AssertionError("the first item was there")

    first = next(read_items(pipe(), InputForm("body")))
    assert isinstance(first, Item)
    assert json.loads(json.dumps(first.body)) == {"input": "x"}


def test_lines_of_a_table_are_counted_past_one_that_is_no_utf8() -> None:
    bad, good = read(b'id,prompt\na,caf\xe9\nb,"x\ny"\n', "csv")
    assert isinstance(bad, BadLine)
    assert isinstance(good, Item)
    assert (bad.line, good.line) == (2, 3)


def test_a_quoted_field_without_an_end_is_told_by_the_line_that_begins_it() -> None:
    good, bad = read(b'id,prompt\na,b\nc,"d\ne,f\n', "csv")
    assert isinstance(good, Item)
    assert bad == BadLine(3, "a quoted field begins there, and nothing ends it")
