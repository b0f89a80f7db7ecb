"""Files of texts in, files with answers out: every row exactly once, in order."""
