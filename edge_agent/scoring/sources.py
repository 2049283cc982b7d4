"""What is read and what is written, whatever the form: batches of rows in, tables out, with a place to go on from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

Array = np.ndarray[Any, Any]

#: How a source gives its cells: with types; as text, as a CSV has it; or as the JSON text that stood in the file.
Notation = Literal["typed", "text", "json"]


@dataclass(frozen=True, slots=True)
class LostRow:
    """A row that has no cells: it could not be read. Rows of a file count from 1."""

    number: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a source, in order: those that were read, as a table, and those in between that were not.

    Attributes:
        first: how many rows of the source come before.
    """

    first: int
    table: pa.Table
    lost: Sequence[LostRow] = ()

    @property
    def rows(self) -> int:
        return int(self.table.num_rows) + len(self.lost)

    @property
    def numbers(self) -> Array:
        """The numbers in the source of the table's rows."""
        every: Array = np.arange(self.first + 1, self.first + 1 + self.rows)
        return np.delete(every, [row.number - self.first - 1 for row in self.lost]) if self.lost else every

    def after(self, done: int) -> "Batch":
        """Return what comes after the first `done` rows of the source."""
        if done <= self.first:
            return self
        lost = [row for row in self.lost if row.number > done]
        gone = done - self.first - (len(self.lost) - len(lost))
        return Batch(done, self.table.slice(gone), lost)


class Source(Protocol):
    """A table that can be read from its beginning, any number of times."""

    names: list[str]
    notation: Notation
    #: How many rows it has; None where only reading it through would tell.
    rows: int | None

    def types(self, columns: Sequence[str]) -> pa.Schema:
        """Return the Arrow types of these columns; only of a source whose notation is `typed`."""
        ...

    def batches(self, columns: Sequence[str], *, done: int, most: int) -> Iterator[Batch]:
        """Yield the rows after the first `done`, at most `most` in a batch."""
        ...

    def share_read(self) -> float:
        """How far the newest reading has come, 0 to 1; asked by the thread that reads."""
        ...


def share_of(raw: Any, size_bytes: int) -> float:
    """Return how far an open file was read, 0 to 1; 1 once the thread that reads closed it."""
    try:
        return float(raw.tell()) / size_bytes
    except (AttributeError, OSError, ValueError, ZeroDivisionError):  # not open yet, closed meanwhile, empty
        return 1.0


class Sink(Protocol):
    """Where results go: a file that is not finished before `finish`."""

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        ...

    def commit(self) -> list[int]:
        """Make what was written durable, and return the place from which a later sink of this file can go on."""
        ...

    def finish(self) -> None:
        """Make a whole, durable file of it."""
        ...

    def close(self) -> None:
        """Let go of the file, finished or not."""
        ...


def after(batches: Iterator[Batch], done: int) -> Iterator[Batch]:
    """Yield what comes after the first `done` rows."""
    for batch in batches:
        if batch.first + batch.rows > done:
            yield batch.after(done)
