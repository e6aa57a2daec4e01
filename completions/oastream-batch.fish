# fish completion for oastream-batch. Made by `python -m tests.docs`; do not edit.

function __oastream_batch_models
    set -l cache $HOME/.cache
    set -q XDG_CACHE_HOME; and set cache $XDG_CACHE_HOME
    LC_ALL=C sed -n '/^[[:alnum:]][[:alnum:]._:\\/@+-]*$/p' $cache/oastream/models 2>/dev/null
end

function __oastream_batch_profiles
    set -l config $HOME/.config
    set -q XDG_CONFIG_HOME; and set config $XDG_CONFIG_HOME
    LC_ALL=C sed -n 's/^[[:space:]]*\\[[[:space:]]*profile[[:space:]]*\\.[[:space:]]*["]\\{0,1\\}\\([[:alnum:]_-]\\{1,\\}\\)["]\\{0,1\\}[[:space:]]*\\].*/\\1/p' $config/oastream/config.toml 2>/dev/null
end

function __oastream_batch_text_or_file
    set -l text (commandline -ct)
    set -l path (string match -r -g '@(.*)$' -- $text)
    and complete -C "'' $path" | string replace -r '^' @
end

function __oastream_batch_redo
    printf '%s\t%s\n' \
        'stop' 'complete answer, every byte written; with --format tools at least one call' \
        'internal' 'a bug in oastream' \
        'usage' 'bad options' \
        'config' 'no key, unreadable key or CA file, bad proxy or configuration value, a proxy that requires credentials (407)' \
        'input' 'stdin, prompt, history, schema, tools or attached file cannot be used; nothing sent' \
        'output' 'stdout or the -o file cannot be written; outranks every other status' \
        'length' 'the answer was cut at the maximum number of tokens' \
        'content_filter' 'the answer was cut by the content filter' \
        'refusal' 'the model declined; its words are the text' \
        'tool_calls' 'the model called a tool, and the format was not tools' \
        'schema' 'complete, but not valid against the schema' \
        'other' 'ended for an unknown reason, named on stderr' \
        'empty' 'complete, with nothing but reasoning' \
        'no_tool_calls' '--format tools, but the model answered in text' \
        'no_code' '--extract, but the answer has no such code block' \
        'bad_request' 'the server rejects the request (400, 413, 415, 422), or the context is too long' \
        'auth' 'the key is not accepted (401)' \
        'forbidden' 'not permitted (403), by the server or by a proxy' \
        'not_found' 'unknown model or address (404)' \
        'quota' 'no credit left (402, 429 with a billing code)' \
        'rejected' 'any other 4xx' \
        'not_api' 'no such API there: redirect, HTML, not HTTP, 501, 505' \
        'tls' 'the certificate is not trusted, or the TLS handshake fails' \
        'rate_limited' 'too many requests (429)' \
        'server_error' 'the server failed or is overloaded (5xx, 408, 409, 425)' \
        'unreachable' 'DNS, connection refused or reset, proxy unreachable, no reply' \
        'timeout' 'no connection, no first event in time, or --max-time before any output' \
        'interrupted' 'the stream ended without a terminal event' \
        'idle' 'no event for --idle-timeout' \
        'failed' 'the server reported an error after output began' \
        'malformed' 'an event that is not a JSON object, too large, or contradicts what was printed' \
        'deadline' '--max-time passed after output began' \
        'some_failed' 'batch: some items have no plain answer' \
        'aborted' 'batch: no item has an answer, or the run was aborted; the same command resumes it' \
        'journal' 'batch: the answers file is in use, damaged, or belongs to other requests; nothing sent' \
        'changed' 'the request has changed'
end

function __oastream_batch_ok
    printf '%s\t%s\n' \
        'stop' 'complete answer, every byte written; with --format tools at least one call' \
        'internal' 'a bug in oastream' \
        'usage' 'bad options' \
        'config' 'no key, unreadable key or CA file, bad proxy or configuration value, a proxy that requires credentials (407)' \
        'input' 'stdin, prompt, history, schema, tools or attached file cannot be used; nothing sent' \
        'output' 'stdout or the -o file cannot be written; outranks every other status' \
        'length' 'the answer was cut at the maximum number of tokens' \
        'content_filter' 'the answer was cut by the content filter' \
        'refusal' 'the model declined; its words are the text' \
        'tool_calls' 'the model called a tool, and the format was not tools' \
        'schema' 'complete, but not valid against the schema' \
        'other' 'ended for an unknown reason, named on stderr' \
        'empty' 'complete, with nothing but reasoning' \
        'no_tool_calls' '--format tools, but the model answered in text' \
        'no_code' '--extract, but the answer has no such code block' \
        'bad_request' 'the server rejects the request (400, 413, 415, 422), or the context is too long' \
        'auth' 'the key is not accepted (401)' \
        'forbidden' 'not permitted (403), by the server or by a proxy' \
        'not_found' 'unknown model or address (404)' \
        'quota' 'no credit left (402, 429 with a billing code)' \
        'rejected' 'any other 4xx' \
        'not_api' 'no such API there: redirect, HTML, not HTTP, 501, 505' \
        'tls' 'the certificate is not trusted, or the TLS handshake fails' \
        'rate_limited' 'too many requests (429)' \
        'server_error' 'the server failed or is overloaded (5xx, 408, 409, 425)' \
        'unreachable' 'DNS, connection refused or reset, proxy unreachable, no reply' \
        'timeout' 'no connection, no first event in time, or --max-time before any output' \
        'interrupted' 'the stream ended without a terminal event' \
        'idle' 'no event for --idle-timeout' \
        'failed' 'the server reported an error after output began' \
        'malformed' 'an event that is not a JSON object, too large, or contradicts what was printed' \
        'deadline' '--max-time passed after output began' \
        'some_failed' 'batch: some items have no plain answer' \
        'aborted' 'batch: no item has an answer, or the run was aborted; the same command resumes it' \
        'journal' 'batch: the answers file is in use, damaged, or belongs to other requests; nothing sent'
end

complete -c oastream-batch -l input-format -x -a 'batch body json text csv tsv' -d 'Format of the input; batch or body by default'
complete -c oastream-batch -s l -l lines -d 'Each line is a prompt; same as --input-format text'
complete -c oastream-batch -s 0 -l null -d 'With -l: prompts end with NUL and may span lines'
complete -c oastream-batch -l id-key -x -d 'Field that holds the id of an item'
complete -c oastream-batch -l prompt-key -x -d 'Field that holds the prompt of an item'
complete -c oastream-batch -l template -x -a '(__oastream_batch_text_or_file)' -d 'Prompt to build from an item; {name} is one of its fields'
complete -c oastream-batch -l skip-bad -d 'Write an error record for each invalid line and continue'
complete -c oastream-batch -s o -l output -r -F -d 'Write answers to FILE, which is also the journal'
complete -c oastream-batch -l errors -r -F -d 'Write the errors to FILE; by default beside the answers'
complete -c oastream-batch -l format -x -a 'batch text tools row' -d 'Format of a record'
complete -c oastream-batch -l answer-key -x -d 'With --format row: field to hold the answer'
complete -c oastream-batch -l order -x -a 'completion input' -d 'Order of the records'
complete -c oastream-batch -l order-buffer -x -d 'Maximum size of what --order input holds back'
complete -c oastream-batch -l output-dir -x -a '(__fish_complete_directories)' -d 'Also write the text of each answer to DIR/ID.txt'
complete -c oastream-batch -l report -r -F -d 'Write a page with charts of the run to FILE, as HTML'
complete -c oastream-batch -l sync -x -d 'Seconds between syncs of the journal; 0 syncs after each line'
complete -c oastream-batch -l repair -d 'Move invalid lines of the journal to the errors'
complete -c oastream-batch -l retry-failed -d 'Also retry what failed permanently'
complete -c oastream-batch -l redo -x -a '(__fish_complete_list , __oastream_batch_redo)' -d 'Redo items with these outcomes; changed: items whose request changed'
complete -c oastream-batch -l merge -r -F -d 'Merge the answers of shards, named in place of INPUT'
complete -c oastream-batch -l input -r -F -d 'With --merge: the input, for its order and what it lacks'
complete -c oastream-batch -s j -l concurrency -x -d 'Maximum number of requests in flight, per server'
complete -c oastream-batch -l rpm -x -d 'Maximum requests per minute, per server'
complete -c oastream-batch -l tpm -x -d 'Maximum tokens per minute, per server'
complete -c oastream-batch -l max-tokens-total -x -d 'Maximum tokens for the whole batch'
complete -c oastream-batch -l retry -x -d 'Maximum number of retries per item'
complete -c oastream-batch -l outage-max -x -d 'Give up on a server that has been down for this long'
complete -c oastream-batch -l base-url -x -d 'Base URL of a server; several servers share the work'
complete -c oastream-batch -l shard -x -d 'Process only part I of N of the input, or the part that the engine says'
complete -c oastream-batch -l shards -x -d 'Run N shards with --on, and merge them into -o'
complete -c oastream-batch -l on -x -a 'slurm ray parallel' -d 'Engine that runs the shards of --shards'
complete -c oastream-batch -l on-args -x -d 'Arguments for the engine, quoted as in a shell'
complete -c oastream-batch -l drain -x -d 'Seconds to let requests in flight finish after a signal'
complete -c oastream-batch -l via -x -a 'batch-api' -d 'Send through the Batch API of the server: cheaper, within 24 hours'
complete -c oastream-batch -l poll -x -d 'With --via: seconds between looks at the batches; by default 2, growing to 60'
complete -c oastream-batch -l cancel -d 'With --via: cancel the running batches, and fetch what they have finished'
complete -c oastream-batch -l progress -x -d 'Log progress to stderr at this interval'
complete -c oastream-batch -s m -l model -x -a '(__oastream_batch_models)' -d 'Model to use'
complete -c oastream-batch -s s -l system -l instructions -x -a '(__oastream_batch_text_or_file)' -d 'System message'
complete -c oastream-batch -l max-output-tokens -l max-tokens -x -d 'Maximum length of the answer, in tokens'
complete -c oastream-batch -l temperature -x -d 'Sampling temperature'
complete -c oastream-batch -l top-p -x -d 'Nucleus sampling'
complete -c oastream-batch -l reasoning-effort -x -a 'none minimal low medium high xhigh' -d 'minimal, low, medium, high, or any level the model supports'
complete -c oastream-batch -l tools -r -F -d 'Tools the model may call, in either API\'s shape'
complete -c oastream-batch -l tool-choice -x -a 'auto none required' -d 'auto, none, required, the name of a tool, or JSON'
complete -c oastream-batch -l schema -r -F -d 'JSON Schema the answer must match, or FIELDS such as \'name, age int\''
complete -c oastream-batch -l set -x -d 'Set any field of the body; the value is JSON, else text'
complete -c oastream-batch -l body -r -F -d 'Base request body; options override its fields'
complete -c oastream-batch -l header -x -d 'Add a request header'
complete -c oastream-batch -l api -x -a 'responses chat' -d 'API to use'
complete -c oastream-batch -l api-key-file -r -F -d 'Read the key from a file'
complete -c oastream-batch -l provider -x -a 'azure bedrock vertex' -d 'Sign in through a cloud provider'
complete -c oastream-batch -l insecure-http -d 'Allow sending the API key over plain HTTP to a remote host'
complete -c oastream-batch -l ok -x -a '(__fish_complete_list , __oastream_batch_ok)' -d 'Exit 0 for these outcomes too, without a message'
complete -c oastream-batch -l keep-partial -d 'Add what arrived of an answer that broke off to its error, as partial'
complete -c oastream-batch -l connect-timeout -x -d 'Timeout for connecting: DNS, TCP, proxy and TLS'
complete -c oastream-batch -l first-event-timeout -x -d 'Timeout for the first event'
complete -c oastream-batch -l idle-timeout -x -d 'Timeout between events'
complete -c oastream-batch -l max-time -x -d 'Timeout for the whole run; 0 for none'
complete -c oastream-batch -l retry-delay -x -d 'Base delay of the exponential backoff'
complete -c oastream-batch -l max-event-bytes -x -d 'Maximum event size in bytes'
complete -c oastream-batch -l dry-run -d 'Print the request of the first item as JSON, secrets redacted, and send nothing'
complete -c oastream-batch -l stats -a 'text json' -d 'Print a summary line to stderr at the end; --stats=json as JSON'
complete -c oastream-batch -s v -l verbose -d 'Log progress to stderr; -vv logs each event'
complete -c oastream-batch -s q -l quiet -d 'Print only errors to stderr: no notices, no status line'
complete -c oastream-batch -l profile -x -a '(__oastream_batch_profiles)' -d 'Use the defaults of profile NAME in config.toml'
complete -c oastream-batch -l no-config -d 'Ignore config.toml'
complete -c oastream-batch -s h -l help -d 'Show this help'
complete -c oastream-batch -l generate -x -a 'man complete-bash complete-zsh complete-fish' -d 'Print the man page, or completions for a shell'
complete -c oastream-batch -l version -d 'Show the version'
complete -c oastream-batch -l no-lines -d 'Turn off --lines'
complete -c oastream-batch -l no-null -d 'Turn off --null'
complete -c oastream-batch -l no-skip-bad -d 'Turn off --skip-bad'
complete -c oastream-batch -l no-repair -d 'Turn off --repair'
complete -c oastream-batch -l no-retry-failed -d 'Turn off --retry-failed'
complete -c oastream-batch -l no-cancel -d 'Turn off --cancel'
complete -c oastream-batch -l no-insecure-http -d 'Turn off --insecure-http'
complete -c oastream-batch -l no-keep-partial -d 'Turn off --keep-partial'
complete -c oastream-batch -l no-dry-run -d 'Turn off --dry-run'
complete -c oastream-batch -l no-verbose -d 'Turn off --verbose'
complete -c oastream-batch -l no-quiet -d 'Turn off --quiet'
