"""Batch scoring: tables of any size through a release's model, offline.

`run` settles what is asked, `pipeline` does it; `sources` says what a form of table must do, and a module each does it.
"""

from edge_agent.scoring.pipeline import Interrupted
from edge_agent.scoring.run import Options, score_file
from edge_agent.scoring.summary import Summary

__all__ = ["Interrupted", "Options", "Summary", "score_file"]
