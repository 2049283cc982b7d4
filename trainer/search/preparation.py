"""What a run begins with: the table read, checked, divided, and its rows for the proof."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from protocols.recipe import Recipe
from trainer.cases import Case, make_cases
from trainer.columns import type_column
from trainer.errors import MissingColumnError
from trainer.explain.fairness import group_labels
from trainer.graph.encoded import Array
from trainer.guardrails.check import CheckedTable, Wishes, check_table
from trainer.guardrails.rail import Guardrail
from trainer.request import TrainRequest
from trainer.search.division import Division, divide_rows, divided_again, make_material
from trainer.search.material import Material
from trainer.search.pace import slowness
from trainer.tables import check_shape, file_digest, read_table, table_digest


@dataclass(frozen=True, slots=True)
class Prepared:
    """Attributes:
    name, digest: of the data.
    fairness: by column that was named, the group of each labelled row.
    pace: the machine's slowness that the rows were divided for.
    guardrails: all of them, with one for the budget if it binds.
    """

    name: str
    digest: str
    checked: CheckedTable
    division: Division
    guardrails: tuple[Guardrail, ...]
    cases: tuple[Case, ...]
    material: Material
    fairness: Mapping[str, Array]
    pace: float = 1.0


def prepare(request: TrainRequest, recipe: Recipe | None = None, pace: float | None = None) -> Prepared:
    """Read, check and divide the table of a request. Raises TableError, RequestError.

    Args:
        recipe: divide it as this was made.
        pace: divide it for this slowness; None: for the machine's as it is now.
    """
    table, name, digest = _load(request)
    wishes = Wishes(request.keep, request.drop, request.group, request.validate)
    checked = check_table(table, request.target, request.task, wishes)
    rails: list[Guardrail] = []
    # Where the number of trials is given, nothing depends on the clock.
    slow = (pace or slowness()) if request.timed and recipe is None else 1.0
    if recipe is not None:
        division = divided_again(checked, request.seed, recipe.rows)
    else:
        division, rails = divide_rows(checked, request.budget_s, request.seed, slow)
    cases = make_cases(checked.features, division.held_out)
    material = make_material(checked, division, cases, request.seed)
    groups = {column: _groups(table, column, checked) for column in request.fairness}
    return Prepared(name, digest, checked, division, (*checked.guardrails, *rails), cases, material, groups, slow)


def _groups(table: pd.DataFrame, name: str, checked: CheckedTable) -> Array:
    """The groups of a column in the order that the checked rows have."""
    if name not in table.columns:
        raise MissingColumnError("--fairness", name, table.columns)
    return group_labels(type_column(name, table[name].iloc[checked.target.rows]))


def _load(request: TrainRequest) -> tuple[pd.DataFrame, str, str]:
    """Return the table, what to call it, and its digest."""
    if isinstance(request.table, pd.DataFrame):
        table = check_shape(request.table, request.data_name or "the table")
        return table, request.data_name or "table", request.data_sha256 or table_digest(table)
    table = read_table(request.table, name=_file_name(request), target=request.target)
    return table, request.data_name or Path(request.table).name, request.data_sha256 or file_digest(request.table)


def _file_name(request: TrainRequest) -> str | None:
    """A blob's path ends in its digest: the data's name then says what kind of file it is."""
    return request.data_name if request.data_name and not Path(str(request.table)).suffix else None
