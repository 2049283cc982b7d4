"""Every error that the trainer raises.

TrainerError
├── TableError                   the data                                              (caller)
│   ├── TableUnreadableError         no such file, not a table, or a format we do not read
│   ├── EmptyTableError              a table without rows or columns
│   ├── MissingColumnError           a named column is not in the table
│   ├── ColumnNameRefusedError       a column's name cannot be the name of a model input
│   ├── TooFewRowsError              too few labelled rows to learn and to prove anything
│   ├── TargetError                  a target that cannot be learned
│   │   └── OneClassError            a target with one class
│   └── NoFeaturesError              no column is left to learn from
├── RequestError                 contradictory options                                 (caller)
├── OutputRefusedError           the output folder holds something that is not ours    (caller)
├── ImportRefusedError           a model of another framework cannot be taken in       (caller)
├── CandidateError               a candidate folder that cannot be read                (caller)
├── WorkersLostError             no process is left that could run a trial             (machine)
├── NotReproducedError           a release did not come out of its data again            (caller)
├── LimitsError                  no model that was found is within a device's limits  (caller)
├── SearchFailedError            no model could be fitted                                (machine or data)
├── ExportError                  a model that has no faithful ONNX counterpart         (trainer)
├── NotAdditiveError             a model that is no sum over raw columns               (trainer)
└── ParityError                  the exported graph does not compute what the model computes (trainer)
"""

from collections.abc import Iterable

from protocols.errors import GenbaError


class TrainerError(GenbaError):
    """Root of all errors raised by `trainer`."""


class TableError(TrainerError):
    """The data cannot be used as they are."""


class TableUnreadableError(TableError):
    """A file is not a table that we read."""


class EmptyTableError(TableError):
    """A table has no rows or no columns."""

    def __init__(self, source: str, what: str = "rows") -> None:
        super().__init__(f"{source} has no {what}; give a table with a header line and at least 20 labelled rows")
        self.source = source


class MissingColumnError(TableError):
    """A named column is not in the table."""

    def __init__(self, option: str, column: str, columns: Iterable[str]) -> None:
        known = list(columns)
        shown = ", ".join(repr(name) for name in known[:20]) + (f" and {len(known) - 20} more" * (len(known) > 20))
        super().__init__(f"{option} {column!r} is not a column of the table; it has {shown}")
        self.column = column
        self.columns = known


class ColumnNameRefusedError(TableError):
    """A column's name cannot be the name of a model input."""


class TooFewRowsError(TableError):
    """Too few labelled rows to learn from and to prove anything with."""

    def __init__(self, rows: int, needed: int, target: str) -> None:
        super().__init__(f"{rows} rows have a value in the target {target!r}; at least {needed} are needed: add rows")
        self.rows = rows
        self.needed = needed


class TargetError(TableError):
    """The target column cannot be learned."""


class OneClassError(TargetError):
    """A classification target with fewer than two classes."""

    def __init__(self, target: str, value: str) -> None:
        super().__init__(
            f"target {target!r} has one class only ({value!r}), so there is nothing to tell apart: "
            f"add rows of another class, or name another --target"
        )
        self.target = target


class NoFeaturesError(TableError):
    """No column is left to learn from."""

    def __init__(self, dropped: Iterable[str]) -> None:
        names = ", ".join(repr(name) for name in dropped)
        super().__init__(f"no column is left to learn from (dropped: {names or 'none'}); force one with --keep COLUMN")


class RequestError(TrainerError):
    """Options that contradict each other or are out of range."""


class OutputRefusedError(TrainerError):
    """The output folder holds something that would be lost, or cannot be written."""


class ImportRefusedError(TrainerError):
    """A model of another framework cannot be taken in."""


class WorkersLostError(TrainerError):
    """No worker is left that could run a call, and none can be had."""


class CandidateError(TrainerError):
    """A candidate folder cannot be read."""


class NotReproducedError(TrainerError):
    """Training again from a release's lineage gave another model, or could not begin."""

    def __init__(self, release: str, differences: Iterable[str]) -> None:
        self.differences = tuple(differences)
        super().__init__(f"{release} is not reproduced: {'; '.join(self.differences)}")


class LimitsError(TrainerError):
    """No model that the search found is within the limits."""

    def __init__(self, limits: object, nearest: str) -> None:
        super().__init__(
            f"no model that was found is within {limits}; the nearest: {nearest}: allow more, or search longer"
        )


class SearchFailedError(TrainerError):
    """No model could be fitted."""

    def __init__(self, failures: Iterable[str]) -> None:
        kinds = list(dict.fromkeys(failures))
        why = "; ".join(kinds[:5]) or "the time was over before one was"
        super().__init__(f"no model could be fitted: {why}: give a larger --budget, fewer rows, or more memory")
        self.failures = tuple(kinds)


class ExportError(TrainerError):
    """A model has no faithful ONNX counterpart."""


class NotAdditiveError(TrainerError):
    """A model is no sum over raw columns, so its graph cannot tell what each of them adds."""


class ParityError(TrainerError):
    """The exported graph does not compute what the fitted model computes, so there is no release."""
