"""A server for a classifier with its head: batches, limits, feedback, metrics, heads swapped while it runs."""
