"""An example of a Keras network, saved as a .keras file and exported as a SavedModel.

    python docs/examples/keras_model.py ./keras

writes model.keras and the folder saved_model, and sample.csv; the readings are those of table_model.py.
"""

import sys
from pathlib import Path

import keras
from table_model import prepare


def main(folder: Path) -> None:
    table, power = prepare(folder)
    keras.utils.set_random_seed(1)
    scaler = keras.layers.Normalization()
    scaler.adapt(table)
    layers = [keras.Input((table.shape[1],)), scaler, keras.layers.Dense(16, "relu"), keras.layers.Dense(1)]
    model = keras.Sequential([*layers, keras.layers.Rescaling(10.0, offset=float(power.mean()))])
    model.compile(keras.optimizers.Adam(0.02), "mse")
    model.fit(table, power, epochs=30, verbose=0)
    model.save(folder / "model.keras")
    model.export(folder / "saved_model", verbose=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
