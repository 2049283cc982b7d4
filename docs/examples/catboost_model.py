"""An example of a CatBoost model, in CatBoost's own format.

    python docs/examples/catboost_model.py ./catboost

writes model.cbm, and sample.csv; the readings are those of table_model.py.
"""

import sys
from pathlib import Path

import catboost
import pandas as pd
from table_model import COLUMNS, prepare


def main(folder: Path) -> None:
    table, power = prepare(folder)
    model = catboost.CatBoostRegressor(iterations=100, verbose=0, allow_writing_files=False)
    model.fit(pd.DataFrame(table, columns=list(COLUMNS)), power)
    model.save_model(str(folder / "model.cbm"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
