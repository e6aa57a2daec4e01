# bash completion for oastream-mock. Made by `python -m tests.docs`; do not edit.

_oastream_mock() {
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
        [[ ${words[i]} == -- ]] && return
    done

    local cur=${words[n - 1]} option=${words[n - 2]} value=${words[n - 1]} kind= candidates=() earlier=
    if [[ $cur == --*=* ]]; then
        option=${cur%%=*} value=${cur#*=}
    elif [[ $option == -[!-]?* ]]; then
        word=${option#-}
        while [[ $word == [v]?* ]]; do word=${word#?}; done
        option=
        [[ $word == ? ]] && option=-$word
    fi
    case $option in
        --reply) kind=at ;;
        --pace) kind=text ;;
        --delay) kind=text ;;
        --end) candidates=(stop length content_filter refusal tool_calls schema other empty no_tool_calls no_code bad_request auth config forbidden not_found quota rejected not_api rate_limited server_error unreachable timeout interrupted idle failed malformed deadline) ;;
        --script) kind=file ;;
        --fault) kind=list candidates=(on= end= reply= pace= delay= status= headers= body= raw= stall_after= stall= comments= drip= cut_events= cut_bytes= cut= framing= keep_open= duplicate= skip= reorder= malformed= huge= sequence= error= after= code= type= message= no_done= no_finish= endless= replay= background=) ;;
        --rpm) kind=text ;;
        --tpm) kind=text ;;
        --limit-window) candidates=(minute second) ;;
        --limit-refill) candidates=(continuous at-once) ;;
        --limit-headers) candidates=(all retry-after none) ;;
        --gone) kind=text ;;
        --gone-after) kind=text ;;
        --gone-status) kind=text ;;
        --batch-time) kind=text ;;
        --batch-end) kind=text ;;
        --batch-invalid) kind=text ;;
        --batch-lose) kind=text ;;
        --batch-stall) kind=text ;;
        --host) kind=text ;;
        --port) kind=text ;;
        --generate) candidates=(man complete-bash complete-zsh complete-fish) ;;
        *)
            [[ $cur == -* ]] || return
            value=$cur
            candidates=(--version --reply --pace --delay --end --script --fault --cycle --rpm --tpm --limit-window --limit-refill --limit-headers --gone --gone-after --gone-status --batch-time --batch-end --batch-invalid --batch-lose --batch-stall --host --port -v --verbose --generate --help --no-cycle --no-verbose)
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
            done < <(_oastream_mock_found "$option")
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

_oastream_mock_found() {
    case $1 in
        *) ;;
    esac
} 2>/dev/null

complete $(type compopt >/dev/null 2>&1 || echo -o default) -F _oastream_mock oastream-mock
