# bash completion for oastream-batch. Made by `python -m tests.docs`; do not edit.

_oastream_batch() {
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
        [[ ${words[i]} == -- ]] && compopt -o default 2>/dev/null && return
    done

    local cur=${words[n - 1]} option=${words[n - 2]} value=${words[n - 1]} kind= candidates=() earlier=
    if [[ $cur == --*=* ]]; then
        option=${cur%%=*} value=${cur#*=}
    elif [[ $option == --stats ]]; then
        option=
    elif [[ $option == -[!-]?* ]]; then
        word=${option#-}
        while [[ $word == [l0vqh]?* ]]; do word=${word#?}; done
        option=
        [[ $word == ? ]] && option=-$word
    fi
    case $option in
        --input-format) candidates=(batch body json text csv tsv) ;;
        --id-key) kind=text ;;
        --prompt-key) kind=text ;;
        --template) kind=at ;;
        -o | --output) kind=file ;;
        --errors) kind=file ;;
        --format) candidates=(batch text tools row) ;;
        --answer-key) kind=text ;;
        --order) candidates=(completion input) ;;
        --order-buffer) kind=text ;;
        --output-dir) kind=folder ;;
        --report) kind=file ;;
        --sync) kind=text ;;
        --redo) kind=list candidates=(stop internal usage config input output length content_filter refusal tool_calls schema other empty no_tool_calls no_code bad_request auth forbidden not_found quota rejected not_api tls rate_limited server_error unreachable timeout interrupted idle failed malformed deadline some_failed aborted journal changed) ;;
        --merge) kind=file ;;
        --input) kind=file ;;
        -j | --concurrency) kind=text ;;
        --rpm) kind=text ;;
        --tpm) kind=text ;;
        --max-tokens-total) kind=text ;;
        --retry) kind=text ;;
        --outage-max) kind=text ;;
        --base-url) kind=text ;;
        --shard) kind=text ;;
        --shards) kind=text ;;
        --on) candidates=(slurm ray parallel) ;;
        --on-args) kind=text ;;
        --drain) kind=text ;;
        --via) candidates=(batch-api) ;;
        --poll) kind=text ;;
        --progress) kind=text ;;
        -m | --model) kind=found ;;
        -s | --system | --instructions) kind=at ;;
        --max-output-tokens | --max-tokens) kind=text ;;
        --temperature) kind=text ;;
        --top-p) kind=text ;;
        --reasoning-effort) candidates=(none minimal low medium high xhigh) ;;
        --tools) kind=file ;;
        --tool-choice) candidates=(auto none required) ;;
        --schema) kind=file ;;
        --set) kind=text ;;
        --body) kind=file ;;
        --header) kind=text ;;
        --api) candidates=(responses chat) ;;
        --api-key-file) kind=file ;;
        --provider) candidates=(azure bedrock vertex) ;;
        --ok) kind=list candidates=(stop internal usage config input output length content_filter refusal tool_calls schema other empty no_tool_calls no_code bad_request auth forbidden not_found quota rejected not_api tls rate_limited server_error unreachable timeout interrupted idle failed malformed deadline some_failed aborted journal) ;;
        --connect-timeout) kind=text ;;
        --first-event-timeout) kind=text ;;
        --idle-timeout) kind=text ;;
        --max-time) kind=text ;;
        --retry-delay) kind=text ;;
        --max-event-bytes) kind=text ;;
        --stats) candidates=(text json) ;;
        --profile) kind=found ;;
        --generate) candidates=(man complete-bash complete-zsh complete-fish) ;;
        *)
            if [[ $cur != -* ]]; then
                compopt -o default 2>/dev/null
                return
            fi
            value=$cur
            candidates=(--input-format -l --lines -0 --null --id-key --prompt-key --template --skip-bad -o --output --errors --format --answer-key --order --order-buffer --output-dir --report --sync --repair --retry-failed --redo --merge --input -j --concurrency --rpm --tpm --max-tokens-total --retry --outage-max --base-url --shard --shards --on --on-args --drain --via --poll --cancel --progress -m --model -s --system --instructions --max-output-tokens --max-tokens --temperature --top-p --reasoning-effort --tools --tool-choice --schema --set --body --header --api --api-key-file --provider --insecure-http --ok --keep-partial --connect-timeout --first-event-timeout --idle-timeout --max-time --retry-delay --max-event-bytes --dry-run --stats -v --verbose -q --quiet --profile --no-config -h --help --generate --version --no-lines --no-null --no-skip-bad --no-repair --no-retry-failed --no-cancel --no-insecure-http --no-keep-partial --no-dry-run --no-verbose --no-quiet)
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
            done < <(_oastream_batch_found "$option")
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

_oastream_batch_found() {
    case $1 in
        -m | --model) LC_ALL=C sed -n '/^[[:alnum:]][[:alnum:]._:\/@+-]*$/p' "${XDG_CACHE_HOME:-$HOME/.cache}/oastream/models" ;;
        --profile) LC_ALL=C sed -n 's/^[[:space:]]*\[[[:space:]]*profile[[:space:]]*\.[[:space:]]*["]\{0,1\}\([[:alnum:]_-]\{1,\}\)["]\{0,1\}[[:space:]]*\].*/\1/p' "${XDG_CONFIG_HOME:-$HOME/.config}/oastream/config.toml" ;;
    esac
} 2>/dev/null

complete $(type compopt >/dev/null 2>&1 || echo -o default) -F _oastream_batch oastream-batch
