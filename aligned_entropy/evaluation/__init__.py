"""Evaluation of uncertainty scores side by side, on single predictions and on groups of them."""
