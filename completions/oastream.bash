# bash completion for oastream. Made by `python -m tests.docs`; do not edit.

_oastream() {
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
    elif [[ $option == -x || $option == --extract || $option == --stats ]]; then
        option=
    elif [[ $option == -[!-]?* ]]; then
        word=${option#-}
        while [[ $word == [nvqh]?* ]]; do word=${word#?}; done
        option=
        [[ $word == ? ]] && option=-$word
    fi
    case $option in
        -f | --file) kind=file ;;
        -a | --attach) kind=file ;;
        --attach-type) kind=text ;;
        --input-encoding) kind=text ;;
        -m | --model) kind=found ;;
        -s | --system | --instructions) kind=at ;;
        --api) candidates=(responses chat) ;;
        --max-output-tokens | --max-tokens) kind=text ;;
        --temperature) kind=text ;;
        --top-p) kind=text ;;
        --reasoning-effort) candidates=(none minimal low medium high xhigh) ;;
        --tools) kind=file ;;
        --tool-choice) candidates=(auto none required) ;;
        --schema) kind=file ;;
        --schema-multi) kind=file ;;
        --history) kind=file ;;
        --tool-output) kind=text ;;
        --previous-response-id) kind=text ;;
        --set) kind=text ;;
        --body) kind=file ;;
        --header) kind=text ;;
        --base-url) kind=text ;;
        --api-key-file) kind=file ;;
        --provider) candidates=(azure bedrock vertex) ;;
        --resume) kind=text ;;
        --format) candidates=(text ndjson tools json sse) ;;
        -o | --output) kind=file ;;
        -x | --extract) kind=text ;;
        --stats) candidates=(text json) ;;
        --sanitize) candidates=(auto always never) ;;
        --ok) kind=list candidates=(stop internal usage config input output length content_filter refusal tool_calls schema other empty no_tool_calls no_code bad_request auth forbidden not_found quota rejected not_api tls rate_limited server_error unreachable timeout interrupted idle failed malformed deadline some_failed aborted journal) ;;
        --connect-timeout) kind=text ;;
        --first-event-timeout) kind=text ;;
        --idle-timeout) kind=text ;;
        --max-time) kind=text ;;
        --retry) kind=text ;;
        --retry-delay) kind=text ;;
        --retry-max-time) kind=text ;;
        --max-event-bytes) kind=text ;;
        --record) kind=file ;;
        --replay) kind=file ;;
        --profile) kind=found ;;
        --generate) candidates=(man complete-bash complete-zsh complete-fish) ;;
        *)
            [[ $cur == -* ]] || return
            value=$cur
            candidates=(-f --file -a --attach --attach-type -n --no-stdin --input-encoding -m --model -s --system --instructions --api --max-output-tokens --max-tokens --temperature --top-p --reasoning-effort --tools --tool-choice --schema --schema-multi --history --no-wait --tool-output --previous-response-id --set --body --header --dry-run --base-url --api-key-file --provider --insecure-http --list-models --background --detach --resume --format -o --output --keep-partial --hold --eager -x --extract --reasoning --stats --sanitize --ok --connect-timeout --first-event-timeout --idle-timeout --max-time --retry --retry-delay --retry-max-time --max-event-bytes --record --replay --realtime --profile --no-config --show-config -v --verbose -q --quiet -h --help --help-all --generate --version --no-dry-run --no-insecure-http --no-background --no-detach --no-keep-partial --no-hold --no-eager --no-reasoning --no-realtime --no-verbose --no-quiet)
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
            done < <(_oastream_found "$option")
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

_oastream_found() {
    case $1 in
        -m | --model) LC_ALL=C sed -n '/^[[:alnum:]][[:alnum:]._:\/@+-]*$/p' "${XDG_CACHE_HOME:-$HOME/.cache}/oastream/models" ;;
        --profile) LC_ALL=C sed -n 's/^[[:space:]]*\[[[:space:]]*profile[[:space:]]*\.[[:space:]]*["]\{0,1\}\([[:alnum:]_-]\{1,\}\)["]\{0,1\}[[:space:]]*\].*/\1/p' "${XDG_CONFIG_HOME:-$HOME/.config}/oastream/config.toml" ;;
    esac
} 2>/dev/null

complete $(type compopt >/dev/null 2>&1 || echo -o default) -F _oastream oastream
