"""The endpoint with models that take windows, images or state: a client gives tensors, and keeps the state."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from simulators.local_endpoint import Device
from simulators.small_kinds import Kind, picture, pictured, stateful, windowed, write_kind
from tritonclient.utils import InferenceServerException

from edge_agent.inference import Model
from edge_agent.session_plan import SessionPlan
from protocols.feeding import Image
from protocols.images import read_pixels, to_tensor


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    device.start()
    yield device
    device.stop()


@pytest.fixture
def client(device: Device) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(f"localhost:{device.port}")
    yield client
    client.close()


def serve(device: Device, folder: Path, kind: Kind) -> Model:
    model = Model(folder, write_kind(folder, kind), SessionPlan(threads=1))
    device.engine.serve("ccpp", model)
    return model


def tensor(name: str, array: np.ndarray) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), "FP32")
    made.set_data_from_numpy(array.astype(np.float32))
    return made


@pytest.mark.parametrize("batch", [None, 1])
def test_a_window_is_a_tensor(device, client, tmp_path, batch) -> None:
    serve(device, tmp_path / "r", windowed(batch=batch))
    [described] = client.get_model_metadata("ccpp")["inputs"]
    assert described == {"name": "rows", "datatype": "FP32", "shape": [-1, 4, 2]}
    [given] = client.get_model_metadata("ccpp")["outputs"]
    assert given["shape"][0] == -1
    windows = np.concatenate([np.arange(8, dtype=np.float32), np.zeros(8, np.float32)]).reshape(2, 4, 2)
    assert client.infer("ccpp", [tensor("rows", windows)]).as_numpy("prediction").ravel().tolist() == [12 + 7, 0]
    with pytest.raises(InferenceServerException, match=r"rows: its shape is \[1, 3, 2\], and it takes \[-1, 4, 2\]"):
        client.infer("ccpp", [tensor("rows", np.zeros((1, 3, 2)))])


@pytest.mark.parametrize("batch", [None, 1])
def test_many_windows_are_run_in_parts(device, client, tmp_path, monkeypatch, batch) -> None:
    model = serve(device, tmp_path / "r", windowed(batch=batch))
    run, sizes = model.run, []
    monkeypatch.setattr(model, "run", lambda columns: sizes.append(len(columns[0])) or run(columns))
    windows = np.random.default_rng(3).standard_normal((5000, 4, 2)).astype(np.float32)
    found = client.infer("ccpp", [tensor("rows", windows)]).as_numpy("prediction")
    assert np.array_equal(found, np.concatenate([run([windows[:2500]])[0], run([windows[2500:]])[0]]))
    assert sizes[0] == max(sizes) == 4096


def test_an_image_is_the_tensor_that_it_becomes(device, client, tmp_path) -> None:
    image = serve(device, tmp_path / "r", pictured()).manifest.feeding
    assert isinstance(image, Image)
    pixels = np.stack([read_pixels(picture(colour), image) for colour in ((255, 0, 0), (0, 255, 0))])
    answer = client.infer("ccpp", [tensor("pixels", to_tensor(pixels, image))])
    assert answer.as_numpy("prediction").tolist() == [b"red", b"green"]


def test_state_goes_to_the_client_and_comes_from_it(device, client, tmp_path) -> None:
    serve(device, tmp_path / "r", stateful())
    state, found = np.zeros((1, 1), np.float32), []
    for at in (2.0, 3.0):
        columns = [tensor("AT", np.array([[at]])), tensor("V", np.array([[0.0]]))]
        answer = client.infer("ccpp", [*columns, tensor("before", state)])
        state = answer.as_numpy("after")
        found.append(float(answer.as_numpy("prediction").item()))
    assert found == pytest.approx([np.log(2), np.log(6)], rel=1e-5)
    says = (
        r"before: the input is missing; it is state: after of the last answer, zeros of shape \[1, 1\] before the first"
    )
    with pytest.raises(InferenceServerException, match=says):
        client.infer("ccpp", columns)
    two = [tensor(name, np.zeros((2, 1))) for name in ("AT", "V")]
    with pytest.raises(InferenceServerException, match=r"AT: its shape is \[2, 1\], and it takes \[1, 1\]"):
        client.infer("ccpp", [*two, tensor("before", state)])
