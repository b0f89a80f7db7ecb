"""The uncertainty head: arrays only, no transformers. Start reading at `scoring.py` and `head.py`."""
