r"""A man page from its template: man(7) macros, with the parts that come from the code put in.

In a template, lines are as in man(7), except that

    `text`                          is literal: bold, its hyphens and backslashes kept as they are
    @EXAMPLE … @END                 is shown as it is; tests run it
    @OPTIONS … @END                 becomes the options under their headings; a line `@ --name` and the lines
                                    after it are added to what the code says about that option; a line
                                    that begins with `$ `, with `> ` before those that continue it, is
                                    the option's example: tests run it, in a folder of files, with the
                                    `mock:` URL of a line `% URL` above it or a well-behaved server
    @FORMATS … @END                 becomes the formats of --format, with notes in the same way
    @STATUSES … @END, @KEYS … @END  become the exit statuses, and the keys of a fault
    @PLAIN … @END                   is shown as it is, and no command
    @VERSION@                       becomes the version
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from oastream import __version__
from oastream.exits import TABLE
from oastream.mock.keys import KEYS
from oastream.output.formats import FORMATS
from tests.docs import COMMAND
from tests.docs.declared import Option, Program, Takes
from tests.docs.relations import Relations

BLOCK = re.compile(r"^@([A-Z]+)\n(.*?)^@END\n", re.MULTILINE | re.DOTALL)

HEAD = """\
'\\" t
.\\" Made from tests/docs/{name}.1.in by `{command}`; do not edit.
.nr HY 0
"""
"""The first line asks for tbl. Words are not broken: a hyphen in an option's name would be copied with it."""

TENS = {
    0: "0: use the answer. 1 to 9: something on this machine is wrong",
    1: "1x: there is an answer, but not a plain one",
    2: "2x: fix something; the same request would fail again",
    3: "3x: try again later; there is no answer",
    4: "4x: the answer broke off",
    5: "5x: batches",
}
"""What the tens digit of a status says."""


def page(template: str, program: Program) -> str:
    """The man page of a program."""
    body = BLOCK.sub(lambda match: _block(match[1], match[2], program), _inline(template))
    body = re.sub(r"^(\.S[SH] .*\n)\.PP\n", r"\1", body, flags=re.MULTILINE)
    body = re.sub(r"^(\.EE\n\.RE\n)(?=[^.])", r"\1.PP\n", body, flags=re.MULTILINE)
    return HEAD.format(name=program.name, command=COMMAND) + body.replace("@VERSION@", __version__)


def examples(template: str) -> list[str]:
    """The commands that a template shows."""
    return [text for kind, text in BLOCK.findall(template) if kind == "EXAMPLE"]


class OptionExample(NamedTuple):
    """Commands below an option. `url` is of the server that the test gives them, "" for any."""

    option: str
    url: str
    script: str


def option_examples(template: str) -> list[OptionExample]:
    """The commands below the options of a template."""
    notes = [part for kind, text in BLOCK.findall(template) if kind == "OPTIONS" for part in _split_notes(text).items()]
    return [OptionExample(name, *example) for name, text in notes for example in _examples_in(text)]


def _examples_in(note: str) -> list[tuple[str, str]]:
    """The server and the commands of each example of a note."""
    found = re.findall(r"^(?:% (.*)\n)?((?:\$ .*\n)(?:[$>] .*\n)*)", note, re.MULTILINE)
    return [(url, _without_marks(lines)) for url, lines in found]


def _without_marks(lines: str) -> str:
    return "".join(f"{line[2:]}\n" for line in lines.splitlines())


def literal(text: str) -> str:
    """Text that troff shows as it is. A bare hyphen would become a typographic one, which no shell understands."""
    for plain, escape in (("\\", "\\e"), ("-", "\\-"), ("'", "\\(aq"), ("`", "\\(ga"), ("^", "\\(ha"), ("~", "\\(ti")):
        text = text.replace(plain, escape)
    return _ascii(text)


def _ascii(text: str) -> str:
    return "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text)


def _inline(template: str) -> str:
    """The prose of a template: literals in bold. Blocks that are shown as they are are left alone."""
    as_it_is = r"(^@(?:EXAMPLE|PLAIN)\n.*?^@END\n|^[$>%] [^\n]*\n)"
    parts = re.split(as_it_is, template, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if number % 2 else _bold(part) for number, part in enumerate(parts))


def _bold(prose: str) -> str:
    return _ascii(re.sub(r"`([^`\n]+)`", lambda match: f"\\fB{literal(match[1])}\\fR", prose))


def _block(kind: str, text: str, program: Program) -> str:
    if kind in ("EXAMPLE", "PLAIN"):
        return shown(text)
    if kind == "OPTIONS":
        return _options(program, _notes(text, program, {name for option in program.options for name in option.names}))
    if kind == "FORMATS":
        return _formats(_notes(text, program, FORMATS))
    return {"STATUSES": _statuses, "KEYS": _keys}[kind]()


def shown(text: str) -> str:
    """Lines as they are, indented."""
    lines = "".join(f"{_safe_start(literal(line))}\n" for line in text.splitlines())
    return f".PP\n.RS 4\n.EX\n{lines}.EE\n.RE\n"


def _safe_start(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _notes(text: str, program: Program, known: Collection[str]) -> dict[str, str]:
    """What a template adds to options or formats, by their names."""
    notes = _split_notes(text)
    if unknown := sorted(set(notes) - set(known)):
        raise ValueError(f"tests/docs/{program.name}.1.in speaks of what does not exist: {', '.join(unknown)}")
    return notes


def _split_notes(text: str) -> dict[str, str]:
    _, *parts = re.split(r"^@ (\S+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _options(program: Program, notes: dict[str, str]) -> str:
    several = len(program.groups) > 1
    return "".join(
        (f".SS {heading}\n" if several else "") + "".join(_entry(option, notes) for option in options)
        for heading, options in program.groups.items()
    )


def _entry(option: Option, notes: dict[str, str]) -> str:
    """An option: its names and value, its help and default, what the template adds, its use beside others, examples."""
    names = ", ".join(f"\\fB{literal(name)}\\fR" for name in option.names)
    note = "".join(notes[name] for name in option.names if name in notes)
    text = _sentence(option.help)
    if option.default is not None:
        text += f"The default is \\fB{literal(option.default)}\\fR.\n"
    text += re.sub(r"^[$>%] .*\n", "", note, flags=re.MULTILINE)
    text += ".IP\n" + _repetition(option) + _company(option.relations)
    text += "".join(_shown_below_option(commands) for _, commands in _examples_in(note))
    return f".TP\n{names}{_placeholder(option)}\n{text}"


def _placeholder(option: Option) -> str:
    if option.takes is Takes.NOTHING:
        return ""
    if option.values and (option.optional or (option.takes is Takes.CHOICE and option.placeholder.startswith("["))):
        value = "|".join(f"\\fB{literal(choice.text)}\\fR" for choice in option.values)
    else:
        value = "|".join(f"\\fI{literal(word)}\\fR" for word in option.placeholder.split("|"))
    return f"[=\\,{value}]" if option.optional else f" {value}"


def _repetition(option: Option) -> str:
    """What it means to give an option more than once."""
    if option.ends_parsing:
        return "It is printed at once; the other options have no effect.\n"
    if option.repeatable:
        return f"May be given several times{_taken_back(option)}.\n"
    if option.takes is Takes.NOTHING:
        return f"Repeating it changes nothing{_taken_back(option)}.\n"
    return "The last one given counts.\n"


def _taken_back(option: Option) -> str:
    if option.opposite is None:
        return ""
    return f"; \\fB{literal(option.opposite)}\\fR turns it off"


def _company(relations: Relations) -> str:
    """What an option needs beside it, and what it excludes."""
    text = ""
    if relations.only_with:
        text += f"Only with {_listed(relations.only_with, 'and')}.\n"
    if relations.not_with:
        text += f"Not with {_listed(relations.not_with, 'or')}.\n"
    if relations.only_beside:
        text += f"Of the other options, only {_listed(relations.only_beside, 'and')} may stand beside it.\n"
    return text


def _listed(words: Sequence[str], last: str) -> str:
    marked = [_phrase(word) for word in words]
    if len(marked) == 1:
        return marked[0]
    return f"{', '.join(marked[:-1])} {last} {marked[-1]}"


def _shown_below_option(commands: str) -> str:
    """Commands below the text of an option, which is 7 further in than its name."""
    lines = "".join(f"{_safe_start(literal(line))}\n" for line in commands.splitlines())
    return f".RS 9\n.EX\n{lines}.EE\n.RE\n"


def _formats(notes: Mapping[str, str]) -> str:
    """What each format prints, and what the template adds."""
    return "".join(f".TP\n.B {name}\n{_sentence(kind.summary)}{notes.get(name, '')}" for name, kind in FORMATS.items())


def _sentence(text: str) -> str:
    """A help text in prose: each sentence on a line, with a full stop."""
    return _phrase(text.removesuffix(".")).replace(". ", ".\n") + ".\n"


def _phrase(text: str) -> str:
    """A help text as troff reads it: options stand out, hyphens that are typed stay hyphens."""
    marked = re.sub(r"(?<![\w-])--?[a-z][\w=-]*", lambda match: f"\\fB{match[0]}\\fR", text.replace("\\", "\\e"))
    return _ascii(_safe_start(marked.replace("-", "\\-")))


def _statuses() -> str:
    """The table of statuses, under what their tens digit says."""
    text, tens = "", None
    for outcome, (status, meaning) in TABLE.items():
        if status // 10 != tens:
            tens = status // 10
            if text:
                text += ".RE\n.PD\n"
            text += f".PP\n{TENS.get(tens, f'{tens}x')}\n.RS 2\n.PD 0\n"
        text += f".TP 20\n\\fB{status}\\fR {literal(outcome.value)}\n{_phrase(meaning)}\n"
    return f"{text}.RE\n.PD\n"


def _keys() -> str:
    """The keys of a fault, close together."""
    rows = [f".TP 14\n\\fB{literal(name)}\\fR\n{_phrase(key.help.replace('`', ''))}\n" for name, key in KEYS.items()]
    return ".PD 0\n".join([rows[0], "".join(rows[1:])]) + ".PD\n"
