"""An example of a model folder that MLflow wrote, with a scikit-learn model saved by skops.

    python docs/examples/mlflow_model.py ./mlflow

writes the folder model, and sample.csv; the readings are those of table_model.py.
"""

import sys
from pathlib import Path

import mlflow
import pandas as pd
from sklearn.linear_model import Ridge
from table_model import COLUMNS, prepare


def main(folder: Path) -> None:
    table, power = prepare(folder)
    frame = pd.DataFrame(table, columns=list(COLUMNS))
    model = Ridge().fit(frame, power)
    signature = mlflow.models.infer_signature(frame, power)
    mlflow.sklearn.save_model(
        model, str(folder / "model"), serialization_format="skops", signature=signature, pip_requirements=[]
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
