"""Bytes of telemetry beside the raw sensor messages that they summarise, per window of 60 s."""

import tempfile
from pathlib import Path

import numpy as np
from _plant_release import train_release

from edge_agent.inference import Model
from edge_agent.rows import RowReader
from edge_agent.telemetry import Window
from protocols.assignment import StreamBinding
from protocols.manifest import decode_manifest
from protocols.messages import encode

WINDOW_S = 60
RATES_HZ = (1, 10, 100, 1000)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        release, messages = train_release(Path(folder))
        manifest = decode_manifest((release / "release.json").read_bytes())
        model = Model(release, manifest)
        reader = RowReader(manifest.inputs, StreamBinding("main", "bench", "in", "out", key="key"))
        print(f"{'readings a second':>18}{'raw bytes':>14}{'telemetry':>12}{'raw / telemetry':>18}")
        for rate in RATES_HZ:
            count = rate * WINDOW_S
            payloads = [messages[index % len(messages)] for index in range(count)]
            window = Window("main", manifest, model.ran, 0.0)
            for first in range(0, count, 256):
                batch = payloads[first : first + 256]
                rows = reader.read(batch)
                latency = np.full(len(batch), 0.1, dtype=np.float32)
                window.add(rows, model.predict(rows.columns), latency, sum(map(len, batch)))
            size, raw = len(encode(window.summary(1, float(WINDOW_S), 0))), sum(map(len, payloads))
            print(f"{rate:>18}{raw:>14,}{size:>12,}{raw / size:>18.1f}")


if __name__ == "__main__":
    main()
