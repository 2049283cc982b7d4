"""An example of a scikit-learn pipeline, saved by joblib: imputer, scaler and a support vector regression.

    python docs/examples/joblib_model.py ./joblib

writes model.joblib, which is a pickle, and sample.csv; the readings are those of table_model.py.
"""

import sys
from pathlib import Path

import joblib
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from table_model import COLUMNS, prepare


def main(folder: Path) -> None:
    table, power = prepare(folder)
    model = make_pipeline(SimpleImputer(), StandardScaler(), SVR(C=100.0))
    model.fit(pd.DataFrame(table, columns=list(COLUMNS)), power)
    joblib.dump(model, folder / "model.joblib")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
