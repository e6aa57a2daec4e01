"""Many requests in, one record out for each: what a single run has no need of.

In: requests, and what single runs are made of. Out: their answers. Here is how fast and how many at once, as decisions
without I/O: they are given moments, headers, outcomes and usages, and say when the next request may start.

    limits       headers of a reply           → the limits that a server shows
    quota        one such limit over time     → a speed, by how full the server's bucket is
    search       429s                         → a speed, where nothing else is known
    tokens       a request, its usage         → what it costs, and when the budget is spent
    pace         all of these, for one server → the moment of the next start
    concurrency  events of answers            → how many may be in flight
    outage       failures                     → whether to send at all, and whose fault a failure was
    gate         these three, for one server  → may one start now
"""
