"""What the user gives → the body of a request.

In: `Options`, stdin, files, the conversation so far. Out: the JSON body for either API, and afterwards the check of the
answer against the schema and its turn in the conversation. Nothing here knows of connections.
"""
