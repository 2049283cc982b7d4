"""/metrics as Prometheus' own parser reads it, and what is counted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from simulators.broker_process import wait_until
from simulators.local_endpoint import PAGE, Device
from simulators.small_models import CPU, picky_regression, regression

from edge_agent.endpoint.metrics import Exposition
from edge_agent.tally import BOUNDS_S, Durations
from protocols.assignment import StreamBinding
from protocols.messages import HeldRelease


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    device.start()
    yield device
    device.stop()


def samples(device: Device) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample by name and labels; each comes once, and its family is described."""
    answer = device.ask("GET", "/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    found: dict[Any, float] = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def value(device: Device, name: str, **labels: str) -> float | None:
    return samples(device).get((name, frozenset(labels.items())))


def ask(device: Device, at: float | None, v: float | None, model: str = "ccpp") -> int:
    inputs = [{"name": n, "shape": [1, 1], "datatype": "FP32", "data": [x]} for n, x in (("AT", at), ("V", v))]
    return device.ask("POST", f"/v2/models/{model}/infer", {"inputs": inputs}).status


def test_what_the_agent_says_of_itself_is_there(device: Device) -> None:
    device.page = msgspec.structs.replace(PAGE, releases=(HeldRelease("ccpp", 2, "refused", "too slow"),))
    found = samples(device)

    def of(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    assert of("genba_agent_info", device="press-1", site="osaka", profile="x86", version="1.2.3") == 1
    assert (of("genba_broker_connected"), of("genba_assignment_revision")) == (1, 7)
    assert (of("genba_outbox_waiting"), of("genba_outbox_dropped_total"), of("genba_errors_total")) == (3, 2, 1)
    assert of("genba_refused_messages_total", reason="block-late") == 4
    assert of("genba_release_state", model="ccpp", version="2", state="refused") == 1
    assert of("process_resident_memory_bytes") > 1e7
    assert of("process_cpu_seconds_total") > 0
    assert of("process_open_fds") > 3


def test_before_the_first_status_there_are_metrics_and_no_readiness(device: Device) -> None:
    device.page = None
    assert ("genba_broker_connected", frozenset()) not in samples(device)
    assert device.ask("GET", "/v2/health/ready").status == 400
    assert device.ask("GET", "/v2/health/live").status == 200


def test_a_stream_is_counted(device: Device) -> None:
    device.serve()
    device.engine.bind([StreamBinding('line "1"\\', "ccpp", "in", "out")])
    labels = {"stream": 'line "1"\\', "model": "ccpp"}
    for payload in (b'{"AT": 1, "V": 2}', b'{"AT": 1, "V": 2}', b"not json"):
        device.engine.offer("in", payload)
    wait_until(lambda: value(device, "genba_stream_rejected_total", **labels) == 1)
    wait_until(lambda: value(device, "genba_stream_latency_seconds_count", **labels) == 2)
    found = samples(device)
    assert found["genba_stream_predictions_total", frozenset(labels.items())] == 2
    assert found["genba_stream_waiting", frozenset(labels.items())] == 0
    assert found["genba_stream_dropped_total", frozenset(labels.items())] == 0
    assert found["genba_stream_late_total", frozenset(labels.items())] == 0
    buckets = [
        found["genba_stream_latency_seconds_bucket", frozenset({**labels, "le": f"{b:g}"}.items())] for b in BOUNDS_S
    ]
    assert buckets == sorted(buckets)
    assert found["genba_stream_latency_seconds_bucket", frozenset({**labels, "le": "+Inf"}.items())] == 2
    assert 0 < found["genba_stream_latency_seconds_sum", frozenset(labels.items())] < 10


def test_calls_are_counted_for_what_became_of_them(device: Device) -> None:
    inside = [np.array([[1.0], [2.0]], np.float32), np.array([[1.0], [2.0]], np.float32)]
    device.serve(model=picky_regression(), columns=inside)
    statuses = [ask(device, 3, 50), ask(device, 3, None), ask(device, 3, 1000), ask(device, 1e6, 50)]
    assert statuses == [200, 200, 200, 500]
    assert device.ask("POST", "/v2/models/ccpp/infer", b"{").status == 400
    assert device.ask("POST", "/v2/models/other/infer", b"{").status == 404
    told = {
        name: value(device, f"genba_http_{name}_total", model="ccpp") for name in ("calls", "predictions", "refused")
    }
    assert told == {"calls": 5, "predictions": 3, "refused": 1}
    told = {name: value(device, f"genba_http_{name}_total", model="ccpp") for name in ("failed", "missing", "outside")}
    assert told == {"failed": 1, "missing": 1, "outside": 1}
    assert value(device, "genba_http_latency_seconds_count", model="ccpp") == 3
    assert value(device, "genba_http_responses_total", status="500") == 1
    assert value(device, "genba_http_connections") == 1


def test_swaps_and_versions_are_told(device: Device) -> None:
    assert value(device, "genba_model_swaps_total", model="ccpp") is None
    device.serve()
    assert value(device, "genba_model_swaps_total", model="ccpp") == 0
    device.serve(version=2, model=regression(bias=1.0))
    labels = {"model": "ccpp", "version": "2", "provider": CPU}
    assert value(device, "genba_model_nodes", **labels) == sum(device.engine.servers()["ccpp"].model.placement.values())
    labels["asked"] = CPU
    assert value(device, "genba_model_info", **labels) == 1
    assert value(device, "genba_model_swaps_total", model="ccpp") == 1
    assert value(device, "genba_model_ready", model="ccpp") == 1
    device.engine.bind([StreamBinding("line", "ccpp", "in", "out")])
    device.engine.serve("ccpp", None)
    assert value(device, "genba_model_ready", model="ccpp") == 0
    assert value(device, "genba_model_info", **labels) is None


def test_durations_counted_at_once_and_singly_are_the_same() -> None:
    seconds = np.array([0.0, 0.0001, 0.00011, 0.3, 10.0, 11.0])
    singly, at_once = Durations(), Durations()
    for one in seconds:
        singly.add(float(one))
    at_once.add_all(seconds.tolist())
    assert at_once.counts == singly.counts
    assert at_once.sum_s == pytest.approx(singly.sum_s)
    # A bucket holds what is at most its bound.
    assert (singly.counts[0], singly.counts[1], singly.counts[-2], singly.counts[-1]) == (2, 1, 1, 1)


def test_labels_hold_whatever_a_stream_is_called() -> None:
    out = Exposition()
    out.family("x", "gauge", "Text.", [({"name": 'a"b\\c\nd'}, 1.5)])
    [family] = text_string_to_metric_families(out.text().decode())
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"name": 'a"b\\c\nd'}, 1.5)]
