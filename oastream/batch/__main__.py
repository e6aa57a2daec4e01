"""`python -m oastream.batch`."""

from oastream.batch.main import main

main()
