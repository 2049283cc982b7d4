"""The endpoint as ordinary clients of the Open Inference Protocol use it: tritonclient, and JSON by hand."""

import asyncio
import contextlib
import fcntl
import gc
import json
import socket
import statistics
import sys
import termios
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from simulators.broker_process import wait_until
from simulators.local_endpoint import Answer, Device, read_answer
from simulators.small_models import classification, picky_regression, regression, slow_regression
from tritonclient.utils import InferenceServerException

from edge_agent.endpoint import calls

INFER = "/v2/models/ccpp/infer"


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


def tensor(name: str, values: Any, datatype: str = "FP32", *, binary: bool = True) -> triton.InferInput:
    array = np.array(values, dtype=object if datatype == "BYTES" else np.float32).reshape(-1, 1)
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def column(name: str, values: list[Any], datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(values), 1], "datatype": datatype, "data": values, **more}


def test_a_client_reads_what_the_server_and_its_models_are(
    device: Device, client: triton.InferenceServerClient
) -> None:
    device.serve(version=3)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("ccpp")
    assert client.is_model_ready("ccpp", "3")
    assert not client.is_model_ready("ccpp", "2")
    assert not client.is_model_ready("other")
    about = client.get_server_metadata()
    assert (about["name"], about["version"]) == ("genba", "1.2.3")
    assert client.get_model_metadata("ccpp") == {
        "name": "ccpp",
        "versions": ["3"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "AT", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "V", "datatype": "FP32", "shape": [-1, 1]},
        ],
        "outputs": [{"name": "prediction", "datatype": "FP32", "shape": [-1, 1]}],
    }
    assert client.get_model_repository_index() == [{"name": "ccpp", "version": "3", "state": "READY", "reason": ""}]


@pytest.mark.parametrize("binary", [True, False])
def test_a_client_gets_predictions_in_binary_and_in_json(
    device: Device, client: triton.InferenceServerClient, binary: bool
) -> None:
    device.serve(version=2)
    inputs = [
        tensor("V", [1.0, 4.0], binary=binary),
        tensor("AT", [3.0, float("nan") if binary else 0.0], binary=binary),
    ]
    outputs = [triton.InferRequestedOutput("prediction", binary_data=binary)]
    result = client.infer("ccpp", inputs, outputs=outputs, request_id="seventeen")
    assert result.as_numpy("prediction").tolist() == [[15.0], [6.0]]
    told = result.get_response()
    assert (told["model_name"], told["model_version"], told["id"]) == ("ccpp", "2", "seventeen")


def test_a_client_that_names_no_output_gets_all_in_binary(device: Device, client: triton.InferenceServerClient) -> None:
    device.serve("kinds", model=classification())
    result = client.infer("kinds", [tensor("AT", [0, 4]), tensor("kind", ["a", "never seen"], "BYTES")])
    assert result.as_numpy("prediction").tolist() == [b"mid", b"high"]
    assert result.as_numpy("probabilities").shape == (2, 3)
    assert np.allclose(result.as_numpy("probabilities").sum(axis=1), 1.0)


def test_texts_go_in_json_as_well(device: Device, client: triton.InferenceServerClient) -> None:
    device.serve("kinds", model=classification())
    inputs = [tensor("AT", [0], binary=False), tensor("kind", ["a"], "BYTES", binary=False)]
    outputs = [triton.InferRequestedOutput("prediction", binary_data=False)]
    assert client.infer("kinds", inputs, outputs=outputs).as_numpy("prediction").tolist() == ["mid"]


def test_the_asynchronous_client_is_served_as_well(device: Device) -> None:
    device.serve()

    async def ask() -> list[float]:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{device.port}") as client:
            calls = [client.infer("ccpp", [tensor("AT", [value]), tensor("V", [0])]) for value in range(20)]
            return [float(result.as_numpy("prediction").item()) for result in await asyncio.gather(*calls)]

    assert asyncio.run(ask()) == [10.0 + 2 * value for value in range(20)]


def test_a_client_is_told_what_was_wrong(device: Device, client: triton.InferenceServerClient) -> None:
    device.serve()
    with pytest.raises(InferenceServerException, match="V: the input is missing"):
        client.infer("ccpp", [tensor("AT", [1])])
    with pytest.raises(InferenceServerException, match="there is no model 'other' on this device"):
        client.infer("other", [tensor("AT", [1])])
    with pytest.raises(InferenceServerException, match="ccpp@1 serves, and not version '9'"):
        client.infer("ccpp", [tensor("AT", [1]), tensor("V", [1])], model_version="9")
    with pytest.raises(InferenceServerException, match="assigned by the registry"):
        client.load_model("ccpp")


def test_json_by_hand(device: Device) -> None:
    device.serve()
    answer = device.ask("POST", INFER, {"inputs": [column("AT", [1, 2.5]), column("V", [None, 3])]})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "model_name": "ccpp",
        "model_version": "1",
        "outputs": [{"name": "prediction", "datatype": "FP32", "shape": [2, 1], "data": [12.0, 12.0]}],
    }


def test_nested_lists_and_other_number_types_are_taken(device: Device) -> None:
    device.serve()
    inputs = [
        {"name": "AT", "shape": [2, 1], "datatype": "FP64", "data": [[1], [2.5]]},
        {"name": "V", "shape": [2, 1], "datatype": "INT32", "data": [0, 3]},
    ]
    answer = device.ask("POST", INFER, {"inputs": inputs, "ignored": True})
    assert answer.json["outputs"][0]["data"] == [12.0, 12.0]


def test_true_and_false_are_taken_as_one_and_zero(device: Device, client: triton.InferenceServerClient) -> None:
    device.serve()
    inputs = [column("AT", [True, False], "BOOL"), column("V", [0, 0])]
    assert device.ask("POST", INFER, {"inputs": inputs}).json["outputs"][0]["data"] == [12.0, 10.0]
    said = triton.InferInput("AT", [2, 1], "BOOL")
    said.set_data_from_numpy(np.array([[True], [False]]))
    assert client.infer("ccpp", [said, tensor("V", [0, 0])]).as_numpy("prediction").tolist() == [[12.0], [10.0]]
    missing = device.ask("POST", INFER, {"inputs": [column("AT", [None], "BOOL"), column("V", [0])]})
    assert "AT: its data are not BOOL" in missing.error


def test_a_prediction_that_is_no_number_is_null(device: Device) -> None:
    from simulators.small_models import nan_regression

    columns = [np.ones((2, 1), np.float32)] * 2
    device.serve(model=nan_regression(), columns=columns)
    answer = device.ask("POST", INFER, {"inputs": [column("AT", [-1.0, 1.0]), column("V", [0, 0])]})
    assert answer.json["outputs"][0]["data"] == [None, 0.0]


V_OF_ONE, V_OF_TWO = column("V", [1]), column("V", [1, 2])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is no infer request: Input data was truncated"),
        (b"{", "the body is no infer request"),
        (b"[1]", "Expected `object`, got `array`"),
        (b"\xff\xfe", "the body is no infer request"),
        (b'{"inputs": ' + b"[" * 5000, "the body is no infer request"),
        ({}, "missing required field `inputs`"),
        ({"inputs": []}, "AT: the input is missing"),
        ([column("AT", [1])], "V: the input is missing"),
        ([column("AT", [1]), V_OF_ONE, column("X", [1])], "'X' is no input of the model; it takes AT, V"),
        ([column("AT", [1]), column("AT", [1])], "AT: the input is given twice"),
        ([column("AT", ["1"]), V_OF_ONE], "AT: its data are not FP32: Expected `float | null`, got `str`"),
        ([column("AT", [True]), V_OF_ONE], "AT: its data are not FP32: Expected `float | null`, got `bool`"),
        ([column("AT", [None], "INT64"), V_OF_ONE], "AT: its data are not INT64: Expected `int`, got `null`"),
        ([column("AT", [2**70], "INT64"), V_OF_ONE], "AT: its data are not INT64"),
        ([column("AT", [1e39]), V_OF_ONE], "AT: a number is beyond what a float32 can hold"),
        ([column("AT", [1], "BYTES"), V_OF_ONE], "AT: BYTES was given, and it takes FP32"),
        ([column("AT", [1], "FP8"), V_OF_ONE], "AT: FP8 was given, and it takes FP32"),
        ([column("AT", [1, 2]), V_OF_ONE], "V: 1 rows, and the input before it has 2"),
        ([column("AT", []), column("V", [])], "AT: its shape is [0, 1], and it takes [-1, 1]"),
        ([column("AT", [1]) | {"shape": [1]}, V_OF_ONE], "AT: its shape is [1], and it takes [-1, 1]"),
        (
            [column("AT", [1]) | {"shape": [-1, 1]}, V_OF_ONE],
            "the body is no infer request: Expected `int` >= 0 - at `$.inputs[0].shape[0]`",
        ),
        ([column("AT", [1]) | {"shape": [1, 1.5]}, V_OF_ONE], "the body is no infer request"),
        ([column("AT", [1]) | {"shape": [10**30, 1]}, V_OF_ONE], "the body is no infer request: Expected `int` <= "),
        ([column("AT", [1]) | {"shape": [2**40, 1]}, V_OF_ONE], "AT: 1 values do not fill the shape"),
        ([column("AT", [1]) | {"shape": [1] * 9}, V_OF_ONE], "the body is no infer request"),
        ([column("AT", [1, 2]) | {"data": [[1], [2, 3]]}, V_OF_TWO], "its nested lists differ in length"),
        ([column("AT", [1, 2]) | {"data": [[1, 2]]}, V_OF_TWO], "AT: its data have the shape [1, 2], not [2, 1]"),
        ([column("AT", [1]) | {"data": [[[1]]]}, V_OF_ONE], "AT: its data are nested 3 deep"),
        ([column("AT", [1]) | {"data": 1}, V_OF_ONE], "AT: its data are no list"),
        ([{"name": "AT", "shape": [1, 1], "datatype": "FP32"}, V_OF_ONE], "AT: its data are missing"),
        ([column("AT", [1], parameters={"shared_memory_region": "x"}), V_OF_ONE], "AT: shared memory is not offered"),
        (
            [column("AT", [1], parameters={"binary_data_size": 8}), V_OF_ONE],
            "AT: binary_data_size is 8; 0 bytes follow",
        ),
        (
            {"inputs": [column("AT", [1]), V_OF_ONE], "outputs": [{"name": "score"}]},
            "'score' is no output of the model; it has prediction",
        ),
    ],
)
def test_a_request_that_does_not_fit_is_refused_in_one_line(device: Device, body: Any, says: str) -> None:
    device.serve()
    answer = device.ask("POST", INFER, {"inputs": body} if isinstance(body, list) else body)
    assert answer.status == 400
    assert says in answer.error
    assert len(answer.error) < 400


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"length": "7x"}, "Inference-Header-Content-Length is '7x' of"),
        ({"length": "9" * 5000}, "Inference-Header-Content-Length is '99999999999999999999' of"),
        ({"length": "99999"}, "Inference-Header-Content-Length is '99999' of"),
        ({"more": b"\0"}, "1 bytes of binary data belong to no input"),
        ({"size": 4, "more": b""}, "4 bytes of binary data belong to no input"),
        ({"size": 16}, "V: binary_data_size is 8; 0 bytes follow"),
        ({"shape": [3, 1]}, "AT: 8 bytes of FP32 do not fill the shape [3, 1]"),
        ({"size": -1}, "AT: binary_data_size is -1; 16 bytes follow"),
        ({"size": True}, "AT: binary_data_size is True; 16 bytes follow"),
    ],
)
def test_binary_data_that_do_not_fit_are_refused_in_one_line(device: Device, change: dict[str, Any], says: str) -> None:
    device.serve()
    shape, size = change.get("shape", [2, 1]), change.get("size", 8)
    inputs = [
        {"name": "AT", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": size}},
        {"name": "V", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": 8}},
    ]
    head = json.dumps({"inputs": inputs}).encode()
    body = head + np.zeros(4, "<f4").tobytes() + change.get("more", b"")
    length = change.get("length", str(len(head)))
    answer = device.ask("POST", INFER, body, Inference_Header_Content_Length=length)
    assert (answer.status, says in answer.error) == (400, True), answer.body


@pytest.mark.parametrize(
    ("shape", "data", "says"),
    [
        ([2, 1], [["a"], ["b", "c"]], "kind: its nested lists differ in length"),
        ([2, 1], [[], ["b"]], "kind: its nested lists differ in length"),
        ([2, 1], [["a", "b"]], "kind: its data have the shape [1, 2], not [2, 1]"),
        ([2, 1], [["a"]], "kind: its data have the shape [1, 1], not [2, 1]"),
        ([2, 1], [[], []], "kind: its data have the shape [2, 0], not [2, 1]"),
        ([2, 1], ["a"], "kind: 1 values do not fill the shape [2, 1]"),
        ([2, 1], [["a"], "b"], "kind: its data are not BYTES: Expected `array`, got `str`"),
        ([2, 1], [["a"], [None]], None),
        ([2, 1], ["a", None], None),
    ],
)
def test_nested_texts_are_held_to_the_shape_as_numbers_are(
    device: Device, shape: list[int], data: list[Any], says: str | None
) -> None:
    device.serve("kinds", model=classification())
    inputs = [column("AT", [1.0, 1.0]), {"name": "kind", "shape": shape, "datatype": "BYTES", "data": data}]
    answer = device.ask("POST", "/v2/models/kinds/infer", {"inputs": inputs})
    assert answer.status == (400 if says else 200)
    assert says is None or says in answer.error


def test_texts_in_binary_that_are_cut_off_are_refused(device: Device) -> None:
    device.serve("kinds", model=classification())
    for data, says in (
        (b"\x05\0\0\0abc", "kind: a text of 5 bytes goes beyond its data"),
        (b"\x01\0\0\0a\x01", "kind: its last text has no whole length before it"),
        (b"\x01\0\0\0\xff", "kind: a text is not UTF-8"),
        (b"\x01\0\0\0a\x01\0\0\0b", "kind: 2 values do not fill the shape [1, 1]"),
    ):
        kind = {"name": "kind", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
        head = json.dumps({"inputs": [column("AT", [1]), kind]}).encode()
        answer = device.ask(
            "POST", "/v2/models/kinds/infer", head + data, Inference_Header_Content_Length=str(len(head))
        )
        assert says in answer.error


def test_a_model_that_fails_is_an_error_and_the_next_call_is_served(device: Device) -> None:
    inside = [np.array([[1.0], [2.0]], np.float32), np.array([[1.0], [2.0]], np.float32)]
    device.serve(model=picky_regression(), columns=inside)
    for _ in range(3):  # the first by a worker, the others in the endpoint's own thread
        good = device.ask("POST", INFER, {"inputs": [column("AT", [3]), column("V", [0.5])]})
        assert good.json["outputs"][0]["data"] == [3.5]
        bad = device.ask("POST", INFER, {"inputs": [column("AT", [1e6]), column("V", [0])]})
        assert bad.status == 500
        assert bad.error.startswith("ccpp@1: the model fails")


def test_a_model_without_a_release_is_not_ready(device: Device) -> None:
    from protocols.assignment import StreamBinding

    device.engine.bind([StreamBinding("line", "ccpp", "in", "out")])
    assert device.ask("GET", "/v2/models/ccpp/ready").status == 400
    answer = device.ask("POST", INFER, {"inputs": []})
    assert answer.status == 503
    assert answer.error == "no release of ccpp serves now; `genba agent status` says why"
    assert device.ask("GET", "/v2/models/ccpp").status == 503
    assert device.ask("POST", "/v2/repository/index").json[0]["state"] == "UNAVAILABLE"


def test_a_slow_call_holds_up_no_other(device: Device) -> None:
    """The slow model runs in a worker; the endpoint's own thread goes on serving."""
    columns = [np.ones((2, 1), np.float32)] * 2
    device.serve("slow", model=slow_regression(), columns=columns)
    device.serve()
    body = {"inputs": [column("AT", [1.0]), column("V", [500_000.0])]}
    finished = threading.Event()

    def ask() -> None:
        assert device.ask("POST", "/v2/models/slow/infer", body).status == 200
        finished.set()

    thread = threading.Thread(target=ask)
    thread.start()
    quick = {"inputs": [column("AT", [1]), column("V", [1])]}
    served = 0
    while not finished.is_set():
        assert device.ask("POST", INFER, quick).status == 200
        served += 1
    thread.join()
    assert served > 10


def test_a_large_body_is_served_and_rows_keep_their_order(device: Device, client: triton.InferenceServerClient) -> None:
    device.serve()
    values = np.arange(100_000, dtype=np.float32)
    result = client.infer("ccpp", [tensor("AT", values), tensor("V", np.zeros(100_000))])
    assert result.as_numpy("prediction").ravel().tolist() == (2 * values + 10).tolist()
    body = {"inputs": [column("AT", values.tolist()), column("V", [0.0] * 100_000)]}
    assert device.ask("POST", INFER, body).json["outputs"][0]["data"] == (2 * values + 10).tolist()


def test_each_answer_names_the_version_that_made_it_while_versions_take_turns(device: Device) -> None:
    versions = [device.model(version=number, model=regression(bias=1000.0 * number)) for number in (1, 2)]
    device.engine.serve("ccpp", versions[0])
    stop, wrong = threading.Event(), []
    made: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            told = device.ask("POST", INFER, {"inputs": [column("AT", [0]), column("V", [0])]}).json
            made.append(told["model_version"])
            if told["outputs"][0]["data"] != [1000.0 * int(told["model_version"])]:
                wrong.append(told)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(200):
        answered = len(made)
        device.engine.serve("ccpp", versions[turn % 2])
        device.endpoint.tick()
        wait_until(lambda answered=answered: len(made) > answered)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert set(made) == {"1", "2"}


def test_a_release_that_serves_no_more_is_let_go_of(device: Device) -> None:
    """Its session is most of its memory; the endpoint, which was asked for it last, must not hold on to it."""
    old = weakref.ref(device.serve())
    body = {"inputs": [column("AT", [1]), column("V", [1])]}
    for _ in range(3):
        assert device.ask("POST", INFER, body).status == 200
    device.serve(version=2)
    device.endpoint.tick()
    wait_until(lambda: gc.collect() >= 0 and old() is None, what="the old release's end")
    assert device.ask("POST", INFER, body).json["model_version"] == "2"


def on_its_way(client: socket.socket) -> int:
    """Return how many bytes the other side's kernel has yet to acknowledge."""
    return int.from_bytes(fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def test_calls_that_come_together_are_run_as_one_batch_and_a_bad_one_spoils_no_other(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "QUICK_S", 60.0)  # whatever else this machine is doing
    inside = [np.array([[1.0], [2.0]], np.float32), np.array([[1.0], [2.0]], np.float32)]
    model = device.serve(model=picky_regression(), columns=inside)
    batches: list[int] = []
    run = model.run

    def seen(columns: Any) -> Any:
        batches.append(len(columns[0]))
        return run(columns)

    model.run = seen  # type: ignore[method-assign]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(device.socket()) for _ in range(8)]

        def ask(values: list[float]) -> list[Answer]:
            """Send all before the endpoint comes to read any."""
            held, let_go = threading.Event(), threading.Event()
            device.endpoint.call_soon(lambda: (held.set(), let_go.wait(10)))
            assert held.wait(10)
            for client, value in zip(clients, values, strict=True):
                body = json.dumps({"id": str(value), "inputs": [column("AT", [value]), column("V", [0])]}).encode()
                client.sendall(
                    f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                )
                client.sendall(body)
            wait_until(lambda: not any(on_its_way(client) for client in clients))
            let_go.set()
            return [read_answer(client) for client in clients]

        ask([0.0] * 8)  # the model is then known to be quick
        good = ask([float(value) for value in range(8)])
        assert [(one.json["outputs"][0]["data"], one.json["id"]) for one in good] == [
            ([v], str(v)) for v in map(float, range(8))
        ]
        assert batches[-1] == 8
        bad = ask([0.0, 1e6, 2.0, 3.0, 4.0, -1e6, 6.0, 7.0])
        assert [one.status for one in bad] == [200, 500, 200, 200, 200, 500, 200, 200]
        assert [one.json["outputs"][0]["data"][0] for one in bad if one.status == 200] == [0.0, 2.0, 3.0, 4.0, 6.0, 7.0]
        assert batches[-9:] == [8, 1, 1, 1, 1, 1, 1, 1, 1]


def test_an_answer_in_several_pieces_of_work_waits_for_no_acknowledgement(device: Device) -> None:
    """Nagle's algorithm against delayed acknowledgements: 40 ms for each pair of answers, where it is left on."""
    device.serve()
    body = json.dumps({"inputs": [column("AT", [0]), column("V", [0])]}).encode()
    request = f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    took = []
    with device.socket() as client:
        for _ in range(30):
            began = time.perf_counter()
            client.sendall(request * 2)
            data = b""
            while data.count(b"HTTP/1.1 200") < 2:
                data += client.recv(65536)
            took.append(time.perf_counter() - began)
    assert statistics.median(took) < 0.03


def test_a_quick_model_is_answered_in_the_endpoints_own_thread(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first call, which a worker does, the model is known to be quick."""
    monkeypatch.setattr(calls, "QUICK_S", 60.0)
    model = device.serve()
    threads: list[str] = []
    run = model.run

    def seen(columns: Any) -> Any:
        threads.append(threading.current_thread().name)
        return run(columns)

    model.run = seen  # type: ignore[method-assign]
    for _ in range(20):
        device.ask("POST", INFER, {"inputs": [column("AT", [1]), column("V", [1])]})
    assert threads[0].startswith("http-")
    assert threads[-1] == "http"
