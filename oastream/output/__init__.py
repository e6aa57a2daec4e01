"""Events → the bytes of a format → stdout or a file; messages → stderr.

In: events, verdicts, notices. Out: bytes, each exactly once, in a place that is whole or untouched.
"""
