"""local: — a model on this machine, in a server that lives as long as the run.

    models       the base URL, the environment     → a file with a model
    server       a file                            → the base URL of a llama.cpp that answers from it
    process      (a program of its own)            what that server runs in

In: a base URL that begins with `local:`. Out: one of loopback. What is asked of it is not known here.
"""
