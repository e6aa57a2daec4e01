"""A request → the bytes of its reply: keys, proxies, TLS, HTTP/1.1, recordings.

In: a URL, headers, a body. Out: a status, headers, and the body in pieces, each within its deadline. Nothing here knows
what the bytes mean.

Every rule stands in a part that does no I/O, and can be fed by any shell: `route` (whom to connect to, and which layers
lie on the connection), `tunnel` (what is said to a proxy), `tls.TlsEngine`, `http1` (a request's bytes, a response's
head, body and end, whether the connection may carry another), `connection_errors` (what went wrong, as a failure).
`dial`, `connect` and `transport` are the shell of the single run: they move bytes between those and a socket.
"""
