"""`python -m oastream`."""

from oastream.main import main

main()
