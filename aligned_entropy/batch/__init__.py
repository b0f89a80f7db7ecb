"""Batch prediction: files of texts in, files of predictions out, every row exactly once and in order."""
