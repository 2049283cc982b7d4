"""Large calls over HTTP: run in parts, and in JSON within limits."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from simulators.local_endpoint import Device

from edge_agent.endpoint import served

INFER = "/v2/models/ccpp/infer"


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    device.start()
    yield device
    device.stop()


def binary_call(rows: int, **parameters: bool) -> tuple[bytes, int]:
    """Return a call whose AT counts up, and how much of it is JSON."""
    each = {"shape": [rows, 1], "datatype": "FP32", "parameters": {"binary_data_size": 4 * rows}}
    head = json.dumps({"inputs": [{"name": name} | each for name in ("AT", "V")], "parameters": parameters}).encode()
    return head + np.arange(rows, dtype="<f4").tobytes() + np.zeros(rows, "<f4").tobytes(), len(head)


@pytest.mark.parametrize("max_batch", [0, 1500, 100_000])
def test_a_call_of_many_rows_is_run_in_parts(device: Device, monkeypatch: pytest.MonkeyPatch, max_batch: int) -> None:
    """A model may be far wider inside than the rows that it takes."""
    model = device.serve()
    model.plan = msgspec.structs.replace(model.plan, max_batch=max_batch)
    run, sizes = model.run, list[int]()

    def counted(columns: Sequence[Any]) -> list[Any]:
        sizes.append(len(columns[0]))
        return run(columns)

    monkeypatch.setattr(model, "run", counted)
    body, json_bytes = binary_call(10_001, binary_data_output=True)
    answer = device.ask("POST", INFER, body, Inference_Header_Content_Length=str(json_bytes))
    found = np.frombuffer(answer.body[int(answer.headers["inference-header-content-length"]) :], "<f4")
    assert found.tolist() == (2 * np.arange(10_001) + 10).tolist()
    assert (sum(sizes), max(sizes)) == (10_001, max_batch if max_batch == 1500 else 4096)


def test_wide_rows_are_run_in_smaller_parts_and_a_model_that_gives_no_row_a_row_whole(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "PART_BYTES", 800)
    model = device.serve()
    run, sizes = model.run, list[int]()

    def counted(columns: Sequence[Any]) -> list[Any]:
        sizes.append(len(columns[0]))
        return [np.zeros((1, 1), np.float32)] if len(sizes) == 2 else run(columns)

    monkeypatch.setattr(model, "run", counted)
    body, json_bytes = binary_call(250)
    answer = device.ask("POST", INFER, body, Inference_Header_Content_Length=str(json_bytes))
    assert answer.json["outputs"][0]["data"] == (2 * np.arange(250) + 10).tolist()
    assert sizes == [100, 100, 250]


def test_json_has_a_limit_of_its_own_each_way(device: Device) -> None:
    device.serve()
    each = {"name": "AT", "datatype": "FP32", "shape": [500_000, 1], "data": [1.0] * 500_000}
    body = json.dumps({"inputs": [each]}).encode()
    answer = device.ask("POST", INFER, body)
    assert (answer.status, "send its tensors in binary" in answer.error) == (413, True)
    answer = device.ask("POST", INFER, body, Inference_Header_Content_Length=str(len(body)))
    assert (answer.status, "bytes of JSON, and 2097152 are allowed" in answer.error) == (413, True)
    body, json_bytes = binary_call(2**20 + 1)
    answer = device.ask("POST", INFER, body, Inference_Header_Content_Length=str(json_bytes))
    assert (answer.status, "ask for them in binary" in answer.error) == (413, True)
    body, json_bytes = binary_call(2**20 + 1, binary_data_output=True)
    answer = device.ask("POST", INFER, body, Inference_Header_Content_Length=str(json_bytes))
    assert answer.status == 200
