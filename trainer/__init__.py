"""Tables in, release candidates out: data checks, search, export, parity, explanation, reference profile.

One module per idea; import from the module that owns the name (`from trainer.train import train`). This file
imports nothing, so that `genba train --help` does not wait for scikit-learn.
"""

__all__ = [
    "challenge",
    "cli",
    "errors",
    "imports",
    "request",
    "tables",
    "train",
]
