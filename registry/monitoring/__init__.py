"""Monitoring: how far live data lies from the training data, and what follows. Pure: sketches in, decisions out.

`merging` joins windows, `distances` measures, `reports` judges, `policy` says what
matters, `decision` decides.
"""

__all__ = ["decision", "distances", "merging", "policy", "reports"]
