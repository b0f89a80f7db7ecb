"""Grids of models, data sets, scores and seeds: `alien bench`."""
