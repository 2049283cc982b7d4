"""Which columns of a sample a model takes, in the model's own order."""

from collections.abc import Sequence

from trainer.errors import ImportRefusedError


def choose(names: Sequence[str], width: int | None, columns: Sequence[str]) -> list[str]:
    """Return the sample's columns in the order of the model.

    Args:
        names: the model's own names, if it has any.
        width: how many columns it takes, where that is known.
        columns: of the sample, without the target.

    Raises:
        ImportRefusedError: the sample lacks one, or has another number of columns than a model without names.
    """
    if not names:
        if width is not None and width != len(columns):
            raise ImportRefusedError(
                f"the model takes {width} columns and the sample has {len(columns)} without its target: "
                f"give --sample a table of exactly the model's columns, in their order (and --target)"
            )
        return list(columns)
    known = {name: name for name in columns}
    # LightGBM writes the blanks of a name as underscores.
    known = {**{name.replace(" ", "_"): name for name in columns}, **known}
    absent = next((name for name in names if name not in known), None)
    if absent is not None:
        has = ", ".join(map(repr, list(columns)[:20]))
        raise ImportRefusedError(f"the model needs the column {absent!r}, which --sample does not have; it has {has}")
    return [known[name] for name in names]
