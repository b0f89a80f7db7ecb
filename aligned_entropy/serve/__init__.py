"""HTTP server for a classifier with a head: request batching, limits, feedback, metrics and exchange of the head."""
