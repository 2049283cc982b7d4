"""An example of a scikit-learn pipeline, saved by skops: imputer, scaler and ridge.

    python docs/examples/sklearn_model.py ./sklearn

writes model.skops, and sample.csv; the readings are those of table_model.py.
"""

import sys
from pathlib import Path

import pandas as pd
import skops.io
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from table_model import COLUMNS, prepare


def main(folder: Path) -> None:
    table, power = prepare(folder)
    model = make_pipeline(SimpleImputer(), StandardScaler(), Ridge())
    model.fit(pd.DataFrame(table, columns=list(COLUMNS)), power)
    skops.io.dump(model, folder / "model.skops")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
