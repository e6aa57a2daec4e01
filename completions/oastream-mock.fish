# fish completion for oastream-mock. Made by `python -m tests.docs`; do not edit.

function __oastream_mock_models
    set -l cache $HOME/.cache
    set -q XDG_CACHE_HOME; and set cache $XDG_CACHE_HOME
    LC_ALL=C sed -n '/^[[:alnum:]][[:alnum:]._:\\/@+-]*$/p' $cache/oastream/models 2>/dev/null
end

function __oastream_mock_profiles
    set -l config $HOME/.config
    set -q XDG_CONFIG_HOME; and set config $XDG_CONFIG_HOME
    LC_ALL=C sed -n 's/^[[:space:]]*\\[[[:space:]]*profile[[:space:]]*\\.[[:space:]]*["]\\{0,1\\}\\([[:alnum:]_-]\\{1,\\}\\)["]\\{0,1\\}[[:space:]]*\\].*/\\1/p' $config/oastream/config.toml 2>/dev/null
end

function __oastream_mock_text_or_file
    set -l text (commandline -ct)
    set -l path (string match -r -g '@(.*)$' -- $text)
    and complete -C "'' $path" | string replace -r '^' @
end

function __oastream_mock_fault
    printf '%s\t%s\n' \
        'on=' 'stream | poll | cancel: which requests this applies to (stream)' \
        'end=' 'how the answer ends, like --end' \
        'reply=' 'what the answer says, like --reply' \
        'pace=' 'seconds between events' \
        'delay=' 'seconds before the head of the reply (inf: it never comes)' \
        'status=' 'HTTP status of a reply without an answer, with `body` or an error in OpenAI\'s words' \
        'headers=' 'headers of the reply, replacing the usual ones: Name: value (repeatable)' \
        'body=' 'the reply\'s body, verbatim, or @FILE' \
        'raw=' 'text or @FILE sent instead of any HTTP, then the end (empty: closes without a reply)' \
        'stall_after=' 'go silent after this many events' \
        'stall=' 'for this many seconds (inf)' \
        'comments=' 'seconds between `: keep-alive` comments, in every pause of the body' \
        'drip=' 'seconds between single bytes, from `stall_after` on (0)' \
        'cut_events=' 'end the connection after this many events' \
        'cut_bytes=' 'end the connection after this many bytes of the body' \
        'cut=' 'how: fin (the body ends properly), drop (FIN without the last chunk), rst, chunk (FIN inside a chunk)' \
        'framing=' 'how the end of the body is signalled: chunked, length, close' \
        'keep_open=' 'do not end the body after its last event' \
        'duplicate=' 'numbers of events to send twice: 3 or 3+5' \
        'skip=' 'numbers of events to leave out' \
        'reorder=' 'numbers of events to send after the one that follows them' \
        'malformed=' 'number of an event whose data is broken JSON' \
        'huge=' 'bytes of data in the first delta, by padding' \
        'sequence=' 'none (no sequence numbers) or constant (all 0)' \
        'error=' 'an error event, then the end: nested ({error: {...}}), flat, string ({error: text}), event (event: error), field (error: line), choice (Chat: in a choice), failed (Responses: response.failed)' \
        'after=' 'after this many events (0)' \
        'code=' 'the error\'s code, in an event or in the body of a `status`' \
        'type=' 'the error\'s type' \
        'message=' 'the error\'s message' \
        'no_done=' 'no [DONE] (Chat)' \
        'no_finish=' 'no terminal event (Chat: no chunk with a finish_reason)' \
        'endless=' 'repeat the text forever' \
        'replay=' 'false: a background response of this attempt can be polled, but not streamed again' \
        'background=' 'queued (a request for a background response gets one JSON object whose status is queued, to be polled, even if it asks for a stream), ignored (it is answered as if it had not asked for the background)'
end

complete -c oastream-mock -f
complete -c oastream-mock -l version -d 'Show the version and exit'
complete -c oastream-mock -l reply -x -a '(__oastream_mock_text_or_file)' -d 'What the answer says; by default it echoes the last user message'
complete -c oastream-mock -l pace -x -d 'Time between two events (0)'
complete -c oastream-mock -l delay -x -d 'Time before the head of the reply (0; inf: it never comes)'
complete -c oastream-mock -l end -x -a 'stop length content_filter refusal tool_calls schema other empty no_tool_calls no_code bad_request auth config forbidden not_found quota rejected not_api rate_limited server_error unreachable timeout interrupted idle failed malformed deadline' -d 'How each answer ends: stop, length, content_filter, refusal, tool_calls, schema, other, empty, no_tool_calls, no_code, bad_request, auth, config, forbidden, not_found, quota, rejected, not_api, rate_limited, server_error, unreachable, timeout, interrupted, idle, failed, malformed, deadline'
complete -c oastream-mock -l script -r -F -d 'TOML file of faults, one [[attempt]] table per attempt'
complete -c oastream-mock -l fault -x -a '(__fish_complete_list , __oastream_mock_fault)' -d 'What goes wrong in one attempt'
complete -c oastream-mock -l cycle -d 'Start over with the first attempt after the last'
complete -c oastream-mock -l rpm -x -d 'Requests per minute that are let through; more get 429'
complete -c oastream-mock -l tpm -x -d 'Tokens per minute: a quarter of the bytes, and the output limit or 512'
complete -c oastream-mock -l limit-window -x -a 'minute second' -d 'Size of the buckets for --rpm and --tpm: minute (default), second'
complete -c oastream-mock -l limit-refill -x -a 'continuous at-once' -d 'How they are filled: continuous (default), at-once'
complete -c oastream-mock -l limit-headers -x -a 'all retry-after none' -d 'What replies tell of the limits: all (default), retry-after (with a 429 only), none'
complete -c oastream-mock -l gone -x -d 'Refuse connections for this long, and end those that are open'
complete -c oastream-mock -l gone-after -x -d 'Time from the first request until then (0)'
complete -c oastream-mock -l gone-status -x -d 'Answer with this HTTP status instead of refusing'
complete -c oastream-mock -l batch-time -x -d 'Time that a batch of the Batch API takes (0)'
complete -c oastream-mock -l batch-end -x -d 'How each batch ends, in order; the last one repeats: completed, expired, cancelled, token_limit_exceeded, model_not_found, billing_hard_limit_reached'
complete -c oastream-mock -l batch-invalid -x -d 'Fail batches at validation for each line that has this text'
complete -c oastream-mock -l batch-lose -x -d 'Do such a request, but reset the connection instead of replying, once: upload, create, retrieve, content, list, list-files, cancel, delete'
complete -c oastream-mock -l batch-stall -x -d 'Never reply to such a request, once; before-STEP: and do nothing, after-STEP: but do it'
complete -c oastream-mock -l host -x -d 'Address to listen on'
complete -c oastream-mock -l port -x -d 'Port to listen on; 0 picks a free one'
complete -c oastream-mock -s v -l verbose -d 'Log each request to stderr'
complete -c oastream-mock -l generate -x -a 'man complete-bash complete-zsh complete-fish' -d 'Print the man page, or completions for a shell'
complete -c oastream-mock -l help -d 'Show this message and exit'
complete -c oastream-mock -l no-cycle -d 'Turn off --cycle'
complete -c oastream-mock -l no-verbose -d 'Turn off --verbose'
