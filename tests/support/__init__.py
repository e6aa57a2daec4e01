"""What many tests share: the program as a user runs it, servers and proxies for it, streams for those to send."""
