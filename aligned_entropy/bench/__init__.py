"""Grids of models, data sets, scores and seeds, measured cell by cell: ``alien bench``."""
