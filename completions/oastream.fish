# fish completion for oastream. Made by `python -m tests.docs`; do not edit.

function __oastream_models
    set -l cache $HOME/.cache
    set -q XDG_CACHE_HOME; and set cache $XDG_CACHE_HOME
    LC_ALL=C sed -n '/^[[:alnum:]][[:alnum:]._:\\/@+-]*$/p' $cache/oastream/models 2>/dev/null
end

function __oastream_profiles
    set -l config $HOME/.config
    set -q XDG_CONFIG_HOME; and set config $XDG_CONFIG_HOME
    LC_ALL=C sed -n 's/^[[:space:]]*\\[[[:space:]]*profile[[:space:]]*\\.[[:space:]]*["]\\{0,1\\}\\([[:alnum:]_-]\\{1,\\}\\)["]\\{0,1\\}[[:space:]]*\\].*/\\1/p' $config/oastream/config.toml 2>/dev/null
end

function __oastream_text_or_file
    set -l text (commandline -ct)
    set -l path (string match -r -g '@(.*)$' -- $text)
    and complete -C "'' $path" | string replace -r '^' @
end

function __oastream_ok
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

complete -c oastream -f
complete -c oastream -s f -l file -r -F -d 'Add a text file to the prompt; - is stdin'
complete -c oastream -s a -l attach -r -F -d 'Add an image, PDF, audio or other file; - is stdin'
complete -c oastream -l attach-type -x -d 'Media type of the attachments: one for all, or one for each'
complete -c oastream -s n -l no-stdin -d 'Never read stdin; use it in loops fed by a pipe'
complete -c oastream -l input-encoding -x -d 'Encoding of stdin and files'
complete -c oastream -s m -l model -x -a '(__oastream_models)' -d 'Model to use'
complete -c oastream -s s -l system -l instructions -x -a '(__oastream_text_or_file)' -d 'System message'
complete -c oastream -l api -x -a 'responses chat' -d 'API to use'
complete -c oastream -l max-output-tokens -l max-tokens -x -d 'Maximum length of the answer, in tokens'
complete -c oastream -l temperature -x -d 'Sampling temperature'
complete -c oastream -l top-p -x -d 'Nucleus sampling'
complete -c oastream -l reasoning-effort -x -a 'none minimal low medium high xhigh' -d 'minimal, low, medium, high, or any level the model supports'
complete -c oastream -l tools -r -F -d 'Tools the model may call, in either API\'s shape'
complete -c oastream -l tool-choice -x -a 'auto none required' -d 'auto, none, required, the name of a tool, or JSON'
complete -c oastream -l schema -r -F -d 'JSON Schema the answer must match, or FIELDS such as \'name, age int\''
complete -c oastream -l schema-multi -r -F -d 'Schema of one item: ask for many, and print each on a line as it arrives'
complete -c oastream -l history -r -F -d 'Continue the conversation in FILE and append this turn'
complete -c oastream -l no-wait -d 'With --history: fail at once when another run has locked FILE'
complete -c oastream -l tool-output -x -d 'Provide the result of a tool call'
complete -c oastream -l previous-response-id -x -d 'Continue from a response stored on the server'
complete -c oastream -l set -x -d 'Set any field of the body; the value is JSON, else text'
complete -c oastream -l body -r -F -d 'Base request body; options override its fields'
complete -c oastream -l header -x -d 'Add a request header'
complete -c oastream -l dry-run -d 'Print the request as JSON, secrets redacted, and send nothing'
complete -c oastream -l base-url -x -d 'Base URL of the API; local: answers from a model on this machine, mock: without one'
complete -c oastream -l api-key-file -r -F -d 'Read the key from a file'
complete -c oastream -l provider -x -a 'azure bedrock vertex' -d 'Sign in through a cloud provider'
complete -c oastream -l insecure-http -d 'Allow sending the API key over plain HTTP to a remote host'
complete -c oastream -l list-models -d 'List the server\'s models; --format text, json or ndjson'
complete -c oastream -l background -d 'Run the response in background mode; a dropped stream is resumed'
complete -c oastream -l detach -d 'Start in the background, print the response\'s id, and exit once it runs'
complete -c oastream -l resume -x -d 'Resume a response started with --detach'
complete -c oastream -l format -x -a 'text ndjson tools json sse' -d 'Output format'
complete -c oastream -s o -l output -r -F -d 'Write to FILE, atomically, when the run exits 0'
complete -c oastream -l keep-partial -d 'With -o: leave FILE.part when FILE is not written'
complete -c oastream -l hold -d 'Print nothing until the answer is complete and the run exits 0'
complete -c oastream -l eager -d 'With --format tools: print each call as it completes'
complete -c oastream -s x -l extract -x -d 'Print only the first fenced code block; --extract=LANG: the first one of that language'
complete -c oastream -l reasoning -d 'Show the model\'s reasoning on stderr'
complete -c oastream -l stats -a 'text json' -d 'Print a summary line to stderr at the end; --stats=json as JSON'
complete -c oastream -l sanitize -x -a 'auto always never' -d 'Show control characters as text; auto: on a terminal'
complete -c oastream -l ok -x -a '(__fish_complete_list , __oastream_ok)' -d 'Exit 0 for these outcomes too, without a message'
complete -c oastream -l connect-timeout -x -d 'Timeout for connecting: DNS, TCP, proxy and TLS'
complete -c oastream -l first-event-timeout -x -d 'Timeout for the first event'
complete -c oastream -l idle-timeout -x -d 'Timeout between events'
complete -c oastream -l max-time -x -d 'Timeout for the whole run; 0 for none'
complete -c oastream -l retry -x -d 'Maximum number of retries'
complete -c oastream -l retry-delay -x -d 'Base delay of the exponential backoff'
complete -c oastream -l retry-max-time -x -d 'Time limit for all attempts and waits'
complete -c oastream -l max-event-bytes -x -d 'Maximum event size in bytes'
complete -c oastream -l record -r -F -d 'Record the server\'s reply, with timing'
complete -c oastream -l replay -r -F -d 'Play a recording instead of asking a server'
complete -c oastream -l realtime -d 'With --replay: play at the recorded speed'
complete -c oastream -l profile -x -a '(__oastream_profiles)' -d 'Use the defaults of profile NAME in config.toml'
complete -c oastream -l no-config -d 'Ignore config.toml'
complete -c oastream -l show-config -d 'Print each option\'s value and where it came from'
complete -c oastream -s v -l verbose -d 'Log progress to stderr; -vv logs each event'
complete -c oastream -s q -l quiet -d 'Print only errors to stderr: no notices, no status line'
complete -c oastream -s h -l help -d 'Show the common options'
complete -c oastream -l help-all -d 'Show all options'
complete -c oastream -l generate -x -a 'man complete-bash complete-zsh complete-fish' -d 'Print the man page, or completions for a shell'
complete -c oastream -l version -d 'Show the version'
complete -c oastream -l no-dry-run -d 'Turn off --dry-run'
complete -c oastream -l no-insecure-http -d 'Turn off --insecure-http'
complete -c oastream -l no-background -d 'Turn off --background'
complete -c oastream -l no-detach -d 'Turn off --detach'
complete -c oastream -l no-keep-partial -d 'Turn off --keep-partial'
complete -c oastream -l no-hold -d 'Turn off --hold'
complete -c oastream -l no-eager -d 'Turn off --eager'
complete -c oastream -l no-reasoning -d 'Turn off --reasoning'
complete -c oastream -l no-realtime -d 'Turn off --realtime'
complete -c oastream -l no-verbose -d 'Turn off --verbose'
complete -c oastream -l no-quiet -d 'Turn off --quiet'
