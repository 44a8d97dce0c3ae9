"""Probes on hidden states: their kinds (add one in `kinds.py`), regimes, controls and scores."""
