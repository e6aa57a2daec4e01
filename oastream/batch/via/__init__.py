"""--via batch-api: the same items through the provider's own Batch API, for as long as it takes, across any death.

In: items to ask, a server that has /files and /batches. Out: the same lines of answers and errors as when each item is
asked by itself. What a request asks and what an answer means are the other run's parts; here is the way there and back:

    ledger     FILE.via                          → which pieces are where (each step is recorded before the next)
    pieces     items to ask                      → files to upload, of one model and one endpoint each
    service    the openai SDK                    → uploads, batches, downloads; every wait, every failure as a verdict
    delivery   pieces, their batches             → each piece from its upload to its last answer
    fetched    a line of an output file          → what the recorder takes
    send       the backlog                       → what was `Sent`

A piece is at one of four stages. A run that died goes on by them:

    UPLOADING   recorded, maybe uploaded         → its file is looked for by name, else its items are cut anew
    CREATING    uploaded, maybe created          → its batch is looked for by metadata, else created
    RUNNING     created                          → polled
    WAITING     refused for now: the queue of    → created again, with the same file
                the account is full
"""
