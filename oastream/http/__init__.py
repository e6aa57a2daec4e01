"""A request → the bytes of its reply: keys, proxies, TLS, HTTP/1.1, recordings.

In: a URL, headers, a body. Out: a status, headers, and the body in pieces, each within its deadline. `http1` and
`proxy` do no I/O. Nothing here knows what the bytes mean.
"""
