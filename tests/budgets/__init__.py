"""What a run may cost, counted and never timed: instructions, bytecodes, modules, which no load of the machine changes.

`python -m tests.budgets` measures; with --write it records what each module executes in `record.json`, beside which
`tests/test_budgets.py` puts what it finds, so that a budget that is exceeded says what grew.

Instructions are all of a process's work (valgrind counts them), but have no names. Bytecodes are Python's part of it,
by module; they depend on the minor version of Python alone, so the record is of one.
"""
