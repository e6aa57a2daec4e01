"""The completion for fish."""

from __future__ import annotations

from tests.docs import COMMAND
from tests.docs.declared import Option, Program, Takes, Value, brief, takes_back
from tests.docs.lists import MODELS_SED, PROFILES_SED

SCRIPT = """# fish completion for {name}. Made by `{command}`; do not edit.

function __{function}_models
    set -l cache $HOME/.cache
    set -q XDG_CACHE_HOME; and set cache $XDG_CACHE_HOME
    LC_ALL=C sed -n {models} $cache/oastream/models 2>/dev/null
end

function __{function}_profiles
    set -l config $HOME/.config
    set -q XDG_CONFIG_HOME; and set config $XDG_CONFIG_HOME
    LC_ALL=C sed -n {profiles} $config/oastream/config.toml 2>/dev/null
end

function __{function}_text_or_file
    set -l text (commandline -ct)
    set -l path (string match -r -g '@(.*)$' -- $text)
    and complete -C "'' $path" | string replace -r '^' @
end

{lists}{words}{completions}"""

LIST = """function {function}
    printf '%s\\t%s\\n' \\
{values}
end

"""


def script(program: Program) -> str:
    """The script for one program."""
    function = program.name.replace("-", "_")
    return SCRIPT.format(
        name=program.name,
        command=COMMAND,
        function=function,
        models=_quoted(MODELS_SED),
        profiles=_quoted(PROFILES_SED),
        words="" if program.words is Takes.FILE else f"complete -c {program.name} -f\n",
        lists="".join(_list(option, function) for option in program.options if option.takes is Takes.LIST),
        completions="".join(
            [
                *(_line(option, program.name, function) for option in program.options),
                *(_opposite_line(name, option, program.name) for name, option in program.opposites.items()),
            ]
        ),
    )


def _line(option: Option, name: str, function: str) -> str:
    names = [f"-s {short[1:]}" for short in option.short] + [f"-l {long[2:]}" for long in option.long]
    words = ["complete", "-c", name, *names, *_value(option, function), "-d", _quoted(brief(option.help))]
    return " ".join(words) + "\n"


def _opposite_line(name: str, option: Option, program: str) -> str:
    return f"complete -c {program} -l {name[2:]} -d {_quoted(takes_back(option))}\n"


def _value(option: Option, function: str) -> list[str]:
    """The switches for the value: -x is one that is no file, -a alone one that may be left out."""
    if option.takes is Takes.NOTHING:
        return []
    if option.takes is Takes.FILE:
        return ["-r", "-F"]
    if option.takes is Takes.TEXT:
        return ["-x"]
    texts = {
        Takes.FOLDER: "(__fish_complete_directories)",
        Takes.TEXT_OR_AT_FILE: f"(__{function}_text_or_file)",
        Takes.CHOICE: " ".join(value.text for value in option.values),
        Takes.LIST: f"(__fish_complete_list , {_list_function(option, function)})",
        Takes.MODEL: f"(__{function}_models)",
        Takes.PROFILE: f"(__{function}_profiles)",
    }
    return [*([] if option.optional else ["-x"]), "-a", _quoted(texts[option.takes])]


def _list_function(option: Option, function: str) -> str:
    return f"__{function}_{option.long[0].strip('-').replace('-', '_')}"


def _list(option: Option, function: str) -> str:
    values = " \\\n".join(f"        {_described(value)}" for value in option.values)
    return LIST.format(function=_list_function(option, function), values=values)


def _described(value: Value) -> str:
    return f"{_quoted(value.text)} {_quoted(value.help)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
