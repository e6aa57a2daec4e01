"""When another request follows, and what of its stream is passed on.

In: a request, what opens a connection, the deadlines. Out: the reply and its verdict, after as many attempts as that
takes. `retry` is the policy, without I/O.
"""
