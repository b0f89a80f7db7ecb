"""Review: predictions are written for people to label, in a spreadsheet or a labeling tool, and their labels read."""
