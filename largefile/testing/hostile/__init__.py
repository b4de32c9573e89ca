"""Everything that a server may do wrong, as cases that can be run: see `largefile selftest hostile`."""
