"""Man pages, completions and the README's table, made by one command: `python -m tests.docs`.

In: what `oastream.cli.options_table` and `oastream.mock.cli` declare, the statuses of `oastream.exits`, the templates
`*.1.in` beside this. Out: texts by path. It stands among the tests since it is not installed, and nothing at run time
may import it.
"""

COMMAND = "python -m tests.docs"
