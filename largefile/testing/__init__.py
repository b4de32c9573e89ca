"""A world of our own to test in: a simulated server, network and clock."""
