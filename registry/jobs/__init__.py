"""Jobs: training and retraining, in processes of their own. `python -m registry.jobs --home DIR` is the worker.

`worker` claims jobs and watches over their processes; `child` is such a process, and the only importer of the
trainer; `retraining` holds the rules; `frames` makes tables of labelled rows.
"""

__all__ = ["child", "frames", "report", "retraining", "worker"]
