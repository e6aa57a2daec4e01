"""oastream puts a language model into a Unix pipe.

Data goes one way, and the folders are its stages, in this order:

    cli/        argv, variables, config.toml  → Options
    input/      Options, stdin, files         → the body of a request
    apis/       what differs between Responses and Chat Completions, one object each; no I/O
    http/       a request                     → the bytes of its reply
    events/     bytes                         → events, the reply they make up, the verdict on it; no I/O
    attempts/   streams are read and delivered; whether another request follows
    output/     events, messages              → formats, stdout, files, stderr
    local/      a model on this machine       → a server that lasts as long as the run
    batch/      many requests at once, a program of its own, on the parts of these rooms
    mock/       the scripted server, a program of its own

`main.py` is the process, `pipeline.py` the way of one run, on one page, `ending.py` what happens once its verdict is
known, `list_models.py` the other thing that a run can be, `own_server.py` what `mock:` and `local:` start. Every room
may stand on the modules beside them: how a run ends (`exits`), what was asked for (`options`), every wait (`watch`,
`threads`, `reading`, `commands`, `writer`), files that are replaced whole (`files`), why the system refuses
(`system_errors`), what must not be shown (`redaction`) and how the rest is shown (`display`), text and JSON as servers
write them (`surrogates`, `lenient_json`), what a user meant who typed something else (`suggestions`, `path_hints`),
what loads late (`lazy_imports`), or need not be there at all (`packages`).

Decisions, and what was measured (2026-11, two cores, Python 3.11; ratios of one run):

*One blocking loop, not asyncio.* `watch.py` waits with one `poll` for the file in question, a signal and stdout's
reader at once, so that deadlines, cancellation and a reader that has gone are one mechanism in every wait. asyncio
costs 80 ms to import where bare Python takes 20, and a single stream has nothing to run beside it. What cannot be
polled (DNS, a cloud's sign-in) runs in a thread that is polled for. The parts without I/O are fed by whoever has bytes,
so many streams at once can share them: `http1`, and `answer` with all that it stands on in `events/`. `answer` says
until when to wait and what the silence, or the end, of a stream means; `retry` what follows that.

*httptools for HTTP/1.1, not httpx2, on the way of a single stream.* httpx2 and its transport take 145 ms to import and
take each 20-byte chunk of a chunked body through pure Python; httptools takes 20 ms, most of it `typing`, and hands
out chunks from C. The whole of a 20-event answer takes 1/28 of the time of the openai SDK, 100,000 events 1/61.
The SDK signs in to clouds, and httpx2 hands over what it signs; neither is loaded otherwise. What httpx2 or libcurl
would have brought is in small modules of our own: `dial` (addresses race, RFC 8305), `tunnel` (CONNECT, SOCKS5),
`tls` (TLS within TLS, for https proxies), `inflate` (gzip of several members); `route` says which of them a way takes.

*Start-up is counted in instructions,* which do not depend on the machine's mood (valgrind, millions, of a whole
20-event answer): 171, of which bare Python takes 38; https, with its issuer in a directory of certificates, 47 more.
Usual command lines are read without Click (`cli/plain`), which is 51. Records are named tuples, not dataclasses, whose
generated code took 34; `lazy_imports` keeps out 43; no garbage is looked for while modules load, 8. All is loaded
before stdin is read, so that it is done by the time the program upstream has something to say; what only TLS needs
loads while the connection opens. What else could wait for that, decoding and framing, is 17: not worth the detour.
"""

__version__ = "0.1.0"
