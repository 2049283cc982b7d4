"""Every check: it stands in the guide, and where it finds something it says how to have it otherwise."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from trainer.guardrails.check import Wishes, check_table

#: What makes a guardrail, and where it takes the way out.
MAKERS = {"Guardrail": 4, "found": 4}
ROWS = 400


def constants(tree: ast.Module) -> dict[str, str]:
    return {
        place.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for place in node.targets
        if isinstance(place, ast.Name)
    }


def calls(root: Path) -> Iterator[tuple[str, str, ast.Call]]:
    """Yield where a guardrail is made, its check's name, and the call."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted((root / "trainer").rglob("*.py"))}
    everywhere = {name: value for tree in trees.values() for name, value in constants(tree).items()}
    for path, tree in trees.items():
        names = everywhere | constants(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in (*MAKERS, "dropping"):
                first = node.args[0]
                name = names[first.id] if isinstance(first, ast.Name) and first.id in names else first
                name = name.value if isinstance(name, ast.Constant) else name
                if isinstance(name, str):  # not within `found` and `dropping`, which are given it
                    yield f"{path.relative_to(root)}:{node.lineno}", name, node


def test_every_check_that_finds_something_names_a_way_out(root: Path) -> None:
    silent = []
    for place, name, call in calls(root):
        state = call.args[1] if len(call.args) > 1 else None
        if getattr(call.func, "id", "") == "dropping" or (isinstance(state, ast.Constant) and state.value == "passed"):
            continue
        given = {word.arg: word.value for word in call.keywords}
        at = MAKERS[getattr(call.func, "id", "")]
        override = call.args[at] if len(call.args) > at else given.get("override")
        if override is None or (isinstance(override, ast.Constant) and not override.value):
            silent.append(f"{place}: {name}")
    assert silent == []


def test_the_guide_has_a_line_for_every_check_and_for_no_other(root: Path) -> None:
    guide = (root / "docs" / "operations" / "training.md").read_text("utf-8")
    told = re.findall(r"^\| \*([^*]+)\* \|", guide, re.M)
    assert sorted(told) == sorted({name for _, name, _ in calls(root)})


def test_what_a_bad_table_makes_the_checks_say_has_a_way_out() -> None:
    random = np.random.default_rng(3)
    table = pd.DataFrame({"x": random.normal(20, 2, ROWS), "z": np.linspace(0, 9, ROWS) + random.normal(size=ROWS)})
    table = table.assign(
        y=table["x"] + random.normal(size=ROWS),
        order=range(ROWS),
        always=1,
        lot=[f"L{row // 4}" for row in range(ROWS)],
        copy=table["x"] * 1.8 + 32,
        gone=table["z"].where(np.arange(ROWS) < 250),
        mixed=["off" if row % 9 == 0 else str(random.normal()) for row in range(ROWS)],
        pressure=np.where(np.arange(ROWS) < 200, 1, 1000) * random.normal(21, 1.5, ROWS),
        spike=[5000.0, *random.normal(size=ROWS - 1)],
        day=pd.date_range("2024-01-01", periods=ROWS, freq="min"),
        late=lambda t: t["y"] ** 3,
    )
    table.loc[:3, "y"] = np.nan
    table = pd.concat([table, table.tail(9)], ignore_index=True)
    for wishes in (Wishes(), Wishes(validate="newest"), Wishes(validate="random", keep=["late"]), Wishes(group="lot")):
        found = [one for one in check_table(table, "y", None, wishes).guardrails if one.state != "passed"]
        assert [one.check for one in found if not one.override or not one.done] == []
        assert len(found) >= 12
