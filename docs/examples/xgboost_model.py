"""An example of an XGBoost model, in JSON.

    python docs/examples/xgboost_model.py ./xgboost

writes model.json, and sample.csv; the readings are those of table_model.py.
"""

import sys
from pathlib import Path

import pandas as pd
import xgboost
from table_model import COLUMNS, prepare


def main(folder: Path) -> None:
    table, power = prepare(folder)
    model = xgboost.XGBRegressor(n_estimators=50)
    model.fit(pd.DataFrame(table, columns=list(COLUMNS)), power)
    model.save_model(folder / "model.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
