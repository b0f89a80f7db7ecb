"""The method: arrays only, no transformers. Start reading at `scoring.py` and `head.py`."""
