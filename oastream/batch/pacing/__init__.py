"""How fast and how many at once: decisions without I/O.

In: moments, headers, outcomes and usages. Out: when the next request may start. Nothing here reads a clock or a socket,
so that a day of it is simulated in a second.

    limits         headers of a reply            → the limits that a server shows
    quota          one such limit over time      → a speed, by how full the server's bucket is
    search         429s                          → a speed, where nothing else is known
    suspicion      429s that name no limit       → whether requests or tokens are what is scarce
    tokens         a request, its usage          → what it costs, and when the budget is spent
    pace, meter    all of these, for one server  → the moment of the next start
    concurrency    events of answers             → how many may be in flight
    outage         failures                      → whether to send at all, and whose fault a failure was
    gate           these three, for one server   → may one start now
"""
