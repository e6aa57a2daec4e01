"""The command line, the environment and the configuration file → `Options`.

In: argv, variables, TOML. Out: one `Options` record, or the text of --help and its like. The rest of the program knows
none of the three.

Usual command lines are read by `plain`, all others by Click through `parse`; both give the same `Options`.
"""
