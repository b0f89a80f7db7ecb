"""Rows of files in every format, read as they are."""
