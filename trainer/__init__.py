"""Tables in, release candidates out: data checks, search, export, parity, explanation, reference profile.

`train` and `imports` are the ways in. A table is read and checked (`tables`, `columns`, `guardrails`), searched
(`search`, on `workers`, among `families`), written as one graph (`pieces`, `graph`), proven (`parity`) and explained
(`explain`, `card`). Models of other makers come through `foreign`, those that take more than one row through `fed`;
`precision` makes variants, `sdk` is what Python sees.

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
