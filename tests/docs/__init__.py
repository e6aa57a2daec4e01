"""Man pages and completions, made from the Click declarations and the table of statuses: `python -m tests.docs`.

In: `oastream.cli`, `oastream.mock.cli`, `oastream.exits`, and the templates `man/*.in`. Out: texts by path. It stands
among the tests since it is no part of what is installed, and nothing at run time may import it.
"""

COMMAND = "python -m tests.docs"
