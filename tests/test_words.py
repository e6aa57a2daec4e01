"""What a user can name has words: whatever is new and has none fails here, and the message says where to write them.

`tests.docs` makes the pages from the code, and `test_man.py` compares them. Here is what only a person can write, and
what would be left out of the pages without a sign: a format that no table holds, a key that no help names.
"""

from __future__ import annotations

import ast
import enum
import itertools
import re
import tomllib
import typing
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from oastream.batch.input import INPUT_FORMATS
from oastream.batch.records import LAYOUTS
from oastream.cli import options_table
from oastream.exits import TABLE, Outcome
from oastream.mock.endings import ENDS
from oastream.mock.faults import Fault
from oastream.mock.keys import KEYS
from oastream.options import Options
from oastream.output.formats import FORMATS, Format
from tests.docs import COMMAND
from tests.docs.declared import PROGRAMS, Option
from tests.docs.generated import ROOT, generated
from tests.docs.manpage import TENS, option_examples
from tests.readme import README

README_TEXT = README.read_text()


def template(program: str) -> str:
    return (ROOT / f"tests/docs/{program}.1.in").read_text()


def write_words(names: Iterable[str], place: str) -> str:
    return f"{', '.join(names)} has no words: write them in {place}, then run: {COMMAND}"


def occurs(name: str, text: str) -> bool:
    """Whether a text has a name by itself: --hold is not in --no-hold, nor in --hold-on."""
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None


# Formats ----------------------------------------------------------------------------------------------------------


def subclasses(base: type[Format]) -> Iterator[type[Format]]:
    for each in base.__subclasses__():
        yield each
        yield from subclasses(each)


def test_every_format_with_a_name_can_be_asked_for() -> None:
    named = {each.__name__ for each in subclasses(Format) if "name" in vars(each)}
    assert named == {each.__name__ for each in FORMATS.values()}, (
        f"put it into FORMATS in oastream/output/formats.py, then run: {COMMAND}"
    )


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_summary(name: str) -> None:
    place = f"`summary` of {FORMATS[name].__name__} in oastream/output/formats.py"
    assert "summary" in vars(FORMATS[name]), write_words([f"--format {name}"], place)


@pytest.mark.parametrize("name", FORMATS)
def test_the_readme_says_what_each_format_is(name: str) -> None:
    section = README_TEXT.split("\n## Formats\n")[1].split("\n## ")[0].split("```")[0]
    assert re.search(rf"`(--format )?{name}`", section), f"describe --format {name} in README.md, section Formats"


@pytest.mark.parametrize(
    ("heading", "name"), [*itertools.product(["INPUT"], INPUT_FORMATS), *itertools.product(["OUTPUT FORMATS"], LAYOUTS)]
)
def test_the_page_of_batch_says_what_each_of_its_formats_is(heading: str, name: str) -> None:
    section = template("oastream-batch").split(f".SH {heading}\n")[1].split(".SH ")[0]
    terms = " ".join(re.findall(r"^\.TP\n\.B\w? (.*)$", section, re.MULTILINE))
    assert occurs(name, terms), write_words([name], f"tests/docs/oastream-batch.1.in, section {heading}")


# Options ----------------------------------------------------------------------------------------------------------

EXPLAINED_BY_THEIR_HELP = {
    "oastream": {"--help", "--help-all", "--version"},
    "oastream-batch": {"--answer-key", "--null", "--skip-bad"},
    "oastream-mock": {"--cycle", "--delay", "--end", "--gone-status", "--pace", "--tpm"},
}
"""Options of which a page has no more to say than their help does."""


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_has_help(program: str) -> None:
    silent = [option.names[-1] for option in PROGRAMS[program]().options if not option.help]
    assert not silent, write_words(silent, "`help=`, where it is declared")


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_has_an_example_or_a_note(program: str) -> None:
    """What an option's help cannot say in a line, the page says, or shows. What programs share, one page explains."""
    text = template(program)
    silent = {option.names[-1] for option in own_options(program) if not any(occurs(n, text) for n in option.names)}
    missing = sorted(silent - EXPLAINED_BY_THEIR_HELP[program])
    assert not missing, write_words(missing, f"tests/docs/{program}.1.in, below @OPTIONS")


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_has_an_example(program: str) -> None:
    """Below its note, and it is in it. What programs share, one page shows."""
    shown = {example.option: example.script for example in option_examples(template(program))}
    missing = [
        option.names[-1]
        for option in own_options(program)
        if not any(occurs(name, shown.get(note, "")) for name in option.names for note in option.names)
    ]
    assert not missing, (
        f"{', '.join(missing)} has no example: write it in tests/docs/{program}.1.in, as a line that begins with"
        f" `$ {program} ` below a line `@ {missing[0]}`, then run: {COMMAND}"
    )


def own_options(program: str) -> list[Option]:
    options = PROGRAMS[program]().options
    if program == "oastream":
        return options
    shared = {(option.names, option.help) for option in PROGRAMS["oastream"]().options}
    return [option for option in options if (option.names, option.help) not in shared]


def test_every_option_is_a_field_of_options() -> None:
    """But for those that end the parsing, or choose the configuration file."""
    exposed = {option.name for option in options_table.configurable_options() if option.expose_value}
    fields = set(Options._fields) - {"prompt", "misconfigured"}
    assert exposed - {"profile", "no_config", "show_config"} == fields, "add or remove its field in oastream/options.py"


def test_every_setting_that_is_no_option_is_on_the_page() -> None:
    missing = [option.name for option in options_table.CONFIGURED if f"`{option.name}`" not in template("oastream")]
    assert not missing, write_words(missing, "tests/docs/oastream.1.in, section CONFIGURATION")


def test_every_variable_that_is_read_is_on_a_page() -> None:
    """A name in capitals with an underscore that is a text in the code is a variable, but for those of `others`."""
    others = {"PC_NAME_MAX", "WRONG_VERSION_NUMBER", "OMP_WAIT_POLICY"}  # of pathconf, of OpenSSL; set, not read
    pages = "".join(template(program) for program in PROGRAMS)
    names = {text for file in (ROOT / "oastream").rglob("*.py") for text in texts_in(file.read_text())}
    variables = {name for name in names - others if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", name)}
    missing = sorted(name for name in variables if not occurs(name, pages))
    assert not missing, write_words(missing, "tests/docs/oastream.1.in, section ENVIRONMENT")


def texts_in(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


# Outcomes ---------------------------------------------------------------------------------------------------------


def test_every_outcome_has_a_status_and_a_meaning() -> None:
    """But for a signal, of which the process dies."""
    silent = {outcome.name for outcome in set(Outcome) - {Outcome.SIGNAL} if not TABLE.get(outcome, (0, ""))[1]}
    assert not silent, write_words(sorted(silent), "TABLE in oastream/exits.py")


def test_every_status_has_one_outcome_and_they_ascend() -> None:
    numbers = [number for number, _ in TABLE.values()]
    assert numbers == sorted(set(numbers)), f"correct the numbers of TABLE in oastream/exits.py, then run: {COMMAND}"


def test_every_tens_digit_of_a_status_has_words() -> None:
    missing = {number // 10 for number, _ in TABLE.values()} - set(TENS)
    assert not missing, write_words([f"{tens}x" for tens in missing], "TENS in tests/docs/manpage.py")


def test_the_readme_says_which_outcomes_have_no_ending_in_the_mock() -> None:
    sentence = re.search(r"bring about: with each status above but (.*?)\.", README_TEXT, re.DOTALL)
    assert sentence
    named = set(re.findall(r"`(\w+)`", sentence[1]))
    assert named == {outcome.value for outcome in set(TABLE) - set(ENDS)}, (
        "an outcome that a server can bring about has an ending in oastream/mock/endings.py;"
        f" one that has none is named in README.md, section Test your own script's failure paths; then run: {COMMAND}"
    )


# The mock's faults ------------------------------------------------------------------------------------------------


def test_every_fault_has_a_key_and_every_key_its_words() -> None:
    assert set(KEYS) == set(Fault._fields), (
        f"give each field of Fault its line of KEYS in oastream/mock/keys.py, then run: {COMMAND}"
    )
    silent = [name for name, key in KEYS.items() if not key.help]
    assert not silent, write_words(silent, "KEYS in oastream/mock/keys.py")


def test_the_help_of_a_key_names_all_its_values() -> None:
    """Those of an enum; `stream`, which every attempt is without the key, included."""
    types = typing.get_type_hints(Fault)
    missing = [
        f"{name}={value}" for name, key in KEYS.items() for value in values_of(types[name]) if value not in key.help
    ]
    assert not missing, write_words(missing, "the help of its key in oastream/mock/keys.py")


def values_of(annotation: Any) -> list[str]:
    """The values that a fault's field may have, where an enum lists them. Outcomes are listed by --end."""
    kinds = typing.get_args(annotation) or (annotation,)
    enums = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, enum.StrEnum)]
    return [member.value for kind in enums for member in kind]


# Programs ---------------------------------------------------------------------------------------------------------


def test_every_program_has_its_pages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["project"]["scripts"]) == set(PROGRAMS), "add it to PROGRAMS in tests/docs/declared.py"
    installed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    pages = {path for path in generated() if path.startswith(("man/", "completions/"))}
    assert set(installed) == pages, "add its files to shared-data in pyproject.toml"
