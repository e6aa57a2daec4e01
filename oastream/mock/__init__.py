"""The scripted server: speaks both APIs as OpenAI does, on loopback, and misbehaves when it is told to.

Knows nothing of the client. Someone who reads from top to bottom meets what follows from what is above:

    cli          the program                                    argv → Plan → a server, and the wait for a signal
    script       options, a file, a `mock:` URL → Plan          keys: what an attempt may say; values: how it is read
    endings      each end by name → the faults that do it
    server       the only module with a socket                  exchange: a request and a reply, as it has them
    routes       a URL → its endpoint                           layers: what happens to every request; checks: its body
    endpoints/   what is done at each URL                       state: what is kept between requests
    replies      an answer or an error, and a fault → Reply     errors: OpenAI's words for an error
    answer       what is said                                   body: what is asked for; sample: a schema's value
    responses    chat    that as events of each API             background: what outlives its connection
    faults       what can go wrong with events and bytes        events: those, pauses and cuts
    batches      what becomes of a batch, by the clock          (its files: endpoints/files)
    limits       how much is let through in a minute            (for all requests together; its layers are in layers)

A new URL is a function in `endpoints/` and a line in `routes.ROUTES`; a limit on all requests is a layer, and a line
beside the others in `routes.Routes`; a new key is a line in `keys.KEYS`; an outcome's end one in `endings.ENDS`.
"""
