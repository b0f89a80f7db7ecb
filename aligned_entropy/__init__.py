"""Know when a Hugging Face classifier is wrong."""
