"""The completion for zsh: a function for compsys, to be found in `$fpath` as `_NAME`.

The words of the prompt complete to nothing, and say so with success: a spec that only shows a message fails, whereupon
compsys tries again and offers each option twice.
"""

from __future__ import annotations

from tests.docs import COMMAND
from tests.docs.declared import Option, Program, Takes, Value, brief, takes_back
from tests.docs.lists import MODELS, PROFILES

SCRIPT = """#compdef {name}
# zsh completion for {name}. Made by `{command}`; do not edit.

(( $+functions[_{function}_models] )) || _{function}_models() {{
  local -a found expl
  found=(${{(f)"$({models} 2>/dev/null)"}})
  _wanted models expl model compadd -a found
}}

(( $+functions[_{function}_profiles] )) || _{function}_profiles() {{
  local -a found expl
  found=(${{(f)"$({profiles} 2>/dev/null)"}})
  _wanted profiles expl profile compadd -a found
}}

(( $+functions[_{function}_text_or_file] )) || _{function}_text_or_file() {{
  if compset -P @; then
    _files
  else
    _message 'text, or @FILE'
  fi
}}

{lists}_arguments -s -S : \\
{arguments}
"""

LIST = """(( $+functions[{function}] )) || {function}() {{
  local -a values
  values=(
{values}  )
  compset -P '*,'
  _describe -t values {what} values -S ''
}}

"""


def script(program: Program) -> str:
    """The script for one program."""
    function = program.name.replace("-", "_")
    arguments = [spec for option in program.options for spec in _specs(option, function)]
    for name, option in program.opposites.items():
        arguments.append(_quoted(f"({' '.join(option.names)}){name}[{_escaped(takes_back(option), '[]')}]"))
    if program.words is Takes.TEXT:
        arguments.append("'*:prompt:{ : }'")
    elif program.words is Takes.FILE:
        arguments.append("'*:input:_files'")
    return SCRIPT.format(
        name=program.name,
        command=COMMAND,
        function=function,
        models=MODELS,
        profiles=PROFILES,
        lists="".join(_list(option, function) for option in program.options if option.takes is Takes.LIST),
        arguments=" \\\n".join(f"  {argument}" for argument in arguments),
    )


def _specs(option: Option, function: str) -> list[str]:
    """The specs of `_arguments`: one for the short names, one for the long ones, each with its own sign for a value."""
    others = "*" if option.repeatable else f"({' '.join(option.names)})" if len(option.names) > 1 else ""
    return [f"{_quoted(others + name + _sign(option, name) + _tail(option, function))}" for name in option.names]


def _sign(option: Option, name: str) -> str:
    if option.takes is Takes.NOTHING:
        return ""
    if option.optional:
        return "=-"
    return "=" if name.startswith("--") else "+"


def _tail(option: Option, function: str) -> str:
    tail = f"[{_escaped(brief(option.help), '[]')}]"
    if option.takes is Takes.NOTHING:
        return tail
    colon = "::" if option.optional else ":"
    return f"{tail}{colon}{_escaped(option.placeholder or 'format', ':')}:{_action(option, function)}"


def _action(option: Option, function: str) -> str:
    actions = {
        Takes.TEXT: " ",
        Takes.FILE: "_files",
        Takes.FOLDER: "_path_files -/",
        Takes.TEXT_OR_AT_FILE: f"_{function}_text_or_file",
        Takes.CHOICE: f"({' '.join(value.text for value in option.values)})",
        Takes.LIST: _list_function(option, function),
        Takes.MODEL: f"_{function}_models",
        Takes.PROFILE: f"_{function}_profiles",
    }
    return actions[option.takes]


def _list_function(option: Option, function: str) -> str:
    return f"_{function}_{option.long[0].strip('-').replace('-', '_')}"


def _list(option: Option, function: str) -> str:
    values = "".join(f"    {_described(value)}\n" for value in option.values)
    return LIST.format(function=_list_function(option, function), values=values, what=option.long[0].strip("-"))


def _described(value: Value) -> str:
    return _quoted(f"{value.text}:{value.help}" if value.help else value.text)


def _escaped(text: str, characters: str) -> str:
    return "".join(f"\\{c}" if c in characters + "\\" else c for c in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
