"""The release and the rows that the benchmarks share: the power plant's readings and a model of them."""

import json
import subprocess
import sys
from pathlib import Path

from registry.demo.plant import power_plant

TARGET = "power [MW]"


def train_release(folder: Path) -> tuple[Path, list[bytes]]:
    """Train a small release in `folder`; return its folder and every reading as a JSON sensor message."""
    table = power_plant()
    table.to_csv(folder / "plant.csv", index=False)
    release = folder / "release"
    command = [sys.executable, "-m", "genba", "train", str(folder / "plant.csv"), "--target", TARGET]
    subprocess.run(
        [*command, "--model", "bench", "--budget", "5s", "--out", str(release)], check=True, stdout=subprocess.DEVNULL
    )
    sensors = table.drop(columns=TARGET).to_dict("records")
    return release, [json.dumps({"key": index, **row}).encode() for index, row in enumerate(sensors)]
