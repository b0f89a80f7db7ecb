"""Language models behind an API that is compatible with OpenAI's: from texts to log-probabilities of label words."""
