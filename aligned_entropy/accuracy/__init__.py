"""Accuracy of a classifier after deployment: what a few labels, or none, say about the rows that it has answered."""
