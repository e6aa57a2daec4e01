"""What a user can name has words: in the code that declares it, and through that in help, man pages and completions.

Pages that are behind the code are for `test_man` and `test_readme` to find. These tests find what has no words to show.
"""

from __future__ import annotations

import enum
import re
import typing

import pytest

from oastream.apis import API_NAMES
from oastream.cli.options_table import PROVIDERS
from oastream.exits import TABLE, Outcome
from oastream.mock.endings import ENDS
from oastream.mock.faults import Fault
from oastream.mock.keys import KEYS
from oastream.output.formats import FORMATS, Format
from tests.docs import COMMAND
from tests.docs.declared import PROGRAMS
from tests.support.program import ROOT

ENUMS = {
    name: kind
    for name, annotation in typing.get_type_hints(Fault).items()
    for kind in typing.get_args(annotation) or (annotation,)
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and kind is not Outcome
}
"""The keys of a fault that take one of a few words → those words."""
MAN = (ROOT / "tests/docs/oastream.1.in").read_text()


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.SIGNAL])
def test_an_outcome_has_a_status_of_its_own_and_a_meaning(outcome: Outcome) -> None:
    todo = f"give {outcome} a status and a meaning in TABLE, oastream/exits.py, then run: {COMMAND}"
    assert outcome in TABLE, todo
    status, meaning = TABLE[outcome]
    assert meaning.strip(), todo
    assert [number for number, _ in TABLE.values()].count(status) == 1, todo


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_a_summary(name: str) -> None:
    todo = f"give {FORMATS[name].__name__} a name and a summary in oastream/output/formats.py, then run: {COMMAND}"
    assert name, todo
    assert FORMATS[name].summary.strip(), todo


def test_a_format_with_a_name_of_its_own_can_be_asked_for() -> None:
    named = {kind for kind in _descendants(Format) if "name" in vars(kind)}
    assert named == set(FORMATS.values()), f"give each its entry in FORMATS, then run: {COMMAND}"


def _descendants(kind: type[Format]) -> set[type[Format]]:
    children = set(kind.__subclasses__())
    return children.union(*map(_descendants, children))


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_option_has_help(program: str) -> None:
    silent = [option.names[-1] for option in PROGRAMS[program]().options if not option.help.strip()]
    assert not silent, f"give them help= where {program} declares them, then run: {COMMAND}"


@pytest.mark.parametrize("name", API_NAMES)
def test_an_api_is_named_in_the_man_page(name: str) -> None:
    assert f"`{name}`" in _note("--api"), (
        f"say who has it under @ --api in tests/docs/oastream.1.in, then run: {COMMAND}"
    )


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_is_explained_in_the_man_page(name: str) -> None:
    todo = f"say what it reads under @ --provider in tests/docs/oastream.1.in, then run: {COMMAND}"
    assert f"\n.B {name}\n" in _note("--provider"), todo


def _note(option: str) -> str:
    """What the template of the man page adds to an option."""
    found = re.search(rf"^@ {option}\n(.*?)^@ ?", MAN, re.MULTILINE | re.DOTALL)
    assert found, option
    return found[1]


@pytest.mark.parametrize("key", Fault._fields)
def test_a_fault_of_the_mock_has_a_key_and_words(key: str) -> None:
    todo = f"give it a line with words in KEYS, oastream/mock/keys.py, then run: {COMMAND}"
    assert key in KEYS, todo
    assert KEYS[key].help.strip(), todo


@pytest.mark.parametrize(("key", "word"), [(key, member.value) for key, kind in ENUMS.items() for member in kind])
def test_a_word_that_a_fault_takes_is_in_its_help(key: str, word: str) -> None:
    todo = f"say what {word} does in the words of {key}, oastream/mock/keys.py, then run: {COMMAND}"
    assert re.search(rf"\b{re.escape(word)}\b", KEYS[key].help), todo


@pytest.mark.parametrize("outcome", ENDS)
def test_an_ending_of_the_mock_is_the_end_of_a_status_that_has_words(outcome: Outcome) -> None:
    assert outcome in TABLE, f"give it its row in TABLE, oastream/exits.py, then run: {COMMAND}"
