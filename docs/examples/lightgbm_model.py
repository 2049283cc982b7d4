"""An example of a LightGBM model, in the text file that LightGBM writes.

    python docs/examples/lightgbm_model.py ./lightgbm

writes model.txt, and sample.csv; the readings are those of table_model.py.
"""

import sys
from pathlib import Path

import lightgbm
import pandas as pd
from table_model import COLUMNS, prepare


def main(folder: Path) -> None:
    table, power = prepare(folder)
    model = lightgbm.LGBMRegressor(n_estimators=50, verbose=-1)
    model.fit(pd.DataFrame(table, columns=list(COLUMNS)), power)
    model.booster_.save_model(folder / "model.txt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
