"""oastream-batch: many requests in, one record out for each, through any death.

In: argv, lines of input, what is in the journal. Out: lines of answers and errors, an exit status. What a request asks,
what an answer means and whether it is asked again are the single run's parts; here is what many at once need.

    cli, options   argv                          → BatchOptions
    main, run      the process; the way of one batch, on one page
    setup          the options                   → how items are read, what is asked about each, the `servers`
    backlog        journal, errors, input        → what is left to ask
    sending        items, servers                → lines of answers and errors, figures
    finish         figures, failures             → the verdict (`summary`: its words)

What these stand on:

    input          lines of any form             → items, each with an id (`template`: a prompt with fields)
    shard          --shard, the environment      → which part of the input is this run's
    merge          the answers of several shards → one file, and what is missing
    launch         --shards                      → the same, its shards run by `engines/` (`parts`: who has which)
    plan           items, what is answered       → what is to be asked (`keys`: ids in few bytes)
    source         a file or a pipe              → the next item to ask
    prepare        an item, the options          → its request, and what will read the reply (`reading`)
    runner         requests, servers             → what is sent next, and what follows when it fails
    pool, stream   requests as bytes             → what each response brings, on asyncio
    completion     chunks                        → the object that Chat sends without `stream`
    recorder       an answer or a failure        → its line (`records`: the layouts; `lines`: where lines go)
    journal        lines                         → a file that holds whole lines only, and what it answers
    progress       figures                       → what is on stderr meanwhile
    via/           the backlog, with --via only  → the same, through the provider's own Batch API
    report/        the run, with --report only   → one HTML page with its curves, figures and failures
    pacing/        headers, outcomes, usages      → when the next request may start, without I/O
"""
