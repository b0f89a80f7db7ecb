"""Scores side by side, of single predictions and of groups of them."""
