"""Bytes → events → the verdict on an answer.

In: the bytes of a body, as they come. Out: events in the vocabulary of the Responses API, the response that they
assemble, how it ended. No I/O, no clock.
"""
