"""The completion for bash: self-contained, for bash 3.2 and later, with or without bash-completion.

Bash splits words at `=`, `:` and `@`; the script joins them again, and hands back what follows the last split.
Nothing that a file says is ever expanded: `compgen -W` would run `$(…)` in a model's name.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.docs import COMMAND
from tests.docs.declared import Option, Program, Takes
from tests.docs.lists import MODELS, PROFILES

SCRIPT = r"""# bash completion for @NAME@. Made by `@COMMAND@`; do not edit.

_@FUNCTION@() {
    local IFS=$' \t\n' words=() n=0 i word mark line=$COMP_LINE
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((n)) && [[ $line != [[:space:]]* ]]; then
            words[n - 1]+=$word
        else
            words[n++]=$word
        fi
        line=${line#"${line%%[![:space:]]*}"}
        line=${line#"$word"}
    done
    COMPREPLY=()
    for ((i = 1; i < n - 1; i++)); do
        [[ ${words[i]} == -- ]] && @AFTER_DASHES@
    done

    local cur=${words[n - 1]} option=${words[n - 2]} value=${words[n - 1]} kind= candidates=() earlier=
    if [[ $cur == --*=* ]]; then
        option=${cur%%=*} value=${cur#*=}
@OPTIONAL@@CLUSTERS@    fi
    case $option in
@CASES@        *)
@WORDS@            value=$cur
            candidates=(@OPTIONS@)
            ;;
    esac

    case $kind in
        text) return ;;
        file)
            compopt -o default 2>/dev/null
            return
            ;;
        folder)
            compopt -o dirnames 2>/dev/null
            return
            ;;
        at)
            [[ $value == @* ]] || return
            while IFS= read -r word; do
                [[ -d $word ]] && word+=/
                printf -v word %q "$word"
                candidates[${#candidates[@]}]=@$word
            done < <(compgen -f -- "${value#@}")
            compopt -o nospace 2>/dev/null
            ;;
        list)
            [[ $value == *,* ]] && earlier=${value%,*},
            compopt -o nospace 2>/dev/null
            ;;
        found)
            while IFS= read -r word; do
                candidates[${#candidates[@]}]=$word
            done < <(_@FUNCTION@_found "$option")
            ;;
    esac

    local before=${cur%"$value"}$earlier stem=
    for mark in = : @; do
        if [[ $COMP_WORDBREAKS == *"$mark"* && $cur == ?*"$mark"* ]]; then
            word=${cur%"${cur##*"$mark"}"}
            ((${#word} > ${#stem})) && stem=$word
        fi
    done
    for word in "${candidates[@]}"; do
        word=$before$word
        [[ $word == "$cur"* ]] && COMPREPLY[${#COMPREPLY[@]}]=${word#"$stem"}
    done
}

_@FUNCTION@_found() {
    case $1 in
@FOUND@    esac
} 2>/dev/null

complete $(type compopt >/dev/null 2>&1 || echo -o default) -F _@FUNCTION@ @NAME@
"""

KINDS = {
    Takes.TEXT: "text",
    Takes.FILE: "file",
    Takes.FOLDER: "folder",
    Takes.TEXT_OR_AT_FILE: "at",
    Takes.MODEL: "found",
    Takes.PROFILE: "found",
    Takes.LIST: "list",
}

_WORDS = {
    Takes.NOTHING: "            [[ $cur == -* ]] || return\n",
    Takes.TEXT: "            [[ $cur == -* ]] || return\n",
    Takes.FILE: (
        "            if [[ $cur != -* ]]; then\n"
        "                compopt -o default 2>/dev/null\n"
        "                return\n"
        "            fi\n"
    ),
}
_AFTER_DASHES = {
    Takes.NOTHING: "return",
    Takes.TEXT: "return",
    Takes.FILE: "compopt -o default 2>/dev/null && return",
}


def script(program: Program) -> str:
    """The script for one program."""
    valued = [option for option in program.options if option.takes is not Takes.NOTHING]
    fields = {
        "@NAME@": program.name,
        "@COMMAND@": COMMAND,
        "@FUNCTION@": program.name.replace("-", "_"),
        "@WORDS@": _WORDS[program.words],
        "@AFTER_DASHES@": _AFTER_DASHES[program.words],
        "@OPTIONAL@": _optional(valued),
        "@CASES@": "".join(_case(option) for option in valued),
        "@CLUSTERS@": _clusters(program.options),
        "@OPTIONS@": " ".join([*(name for option in program.options for name in option.names), *program.opposites]),
        "@FOUND@": _found(valued),
    }
    text = SCRIPT
    for field, value in fields.items():
        text = text.replace(field, value)
    return text


def _pattern(option: Option) -> str:
    return " | ".join(option.names)


def _optional(options: Iterable[Option]) -> str:
    """An option that may stand alone does not take the next word."""
    names = [name for option in options if option.optional for name in option.names]
    return (
        f"    elif [[ {' || '.join(f'$option == {name}' for name in names)} ]]; then\n        option=\n"
        if names
        else ""
    )


def _clusters(options: Iterable[Option]) -> str:
    """In `-nf` it is -f that takes the next word; in `-fn`, -f has taken the rest of its own."""
    flags = "".join(name[1:] for option in options if option.takes is Takes.NOTHING for name in option.short)
    return (
        "    elif [[ $option == -[!-]?* ]]; then\n"
        "        word=${option#-}\n"
        f"        while [[ $word == [{flags}]?* ]]; do word=${{word#?}}; done\n"
        "        option=\n"
        "        [[ $word == ? ]] && option=-$word\n"
        if flags
        else ""
    )


def _case(option: Option) -> str:
    kind = f"kind={KINDS[option.takes]} " if option.takes in KINDS else ""
    values = f"candidates=({' '.join(value.text for value in option.values)})" if option.values else ""
    return f"        {_pattern(option)}) {(kind + values).rstrip()} ;;\n"


def _found(options: Iterable[Option]) -> str:
    commands = {Takes.MODEL: MODELS, Takes.PROFILE: PROFILES}
    return "".join(f"        {_pattern(o)}) {commands[o.takes]} ;;\n" for o in options if o.takes in commands) or (
        "        *) ;;\n"
    )
