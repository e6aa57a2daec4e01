"""oastream puts a language model into a Unix pipe."""

__version__ = "0.1.0"
