"""Monitoring: how far live data lies from the training data, and what follows. Pure: sketches in, decisions out.

`merging` joins windows, `reports` judges them, `policy` says what matters, `decision` decides. The distances themselves
are `protocols.distances`, since a device measures by the same.
"""

__all__ = ["decision", "merging", "policy", "reports"]
