"""Explainers on hidden states: ridge in closed form (numpy), linear and mlp by Adam (torch), and their regimes."""
