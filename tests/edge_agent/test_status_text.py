"""What `genba agent status` says of a device, above all where nothing is served."""

import msgspec
import pytest

from edge_agent.status import StatusPage
from edge_agent.status_text import describe
from protocols.measuring import RunningMeasurement
from protocols.messages import Building, Fault, HeldRelease, ServedStream

NOW = 1_800_000_000.0
IDLE = ServedStream("main", "ccpp", 0, "")
PAGE = StatusPage(
    NOW, "press-1", "osaka", "x86", "mqtt://b:1883", True, "connected", 3, (IDLE,), (), 0, 0, 0, 0, process=7
)


def said(**changes: object) -> str:
    return describe(msgspec.structs.replace(PAGE, **changes), NOW + 4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"running": False}, "serving   nothing: the agent is not running; start it with"),
        ({"streams": ()}, "no stream is assigned; on the registry's side: `genba assign MODEL@VERSION press-1"),
        ({"streams": (), "connected": False}, "as far as this device has heard; it asks when the broker answers"),
        ({}, "nothing on stream 'main': no release of 'ccpp' has been assigned"),
        (
            {
                "releases": (HeldRelease("ccpp", 2, "assigned", "model.onnx was changed: sha256 ab..."),),
                "connected": False,
            },
            "ccpp@2 is assigned (model.onnx was changed: sha256 ab...); it is fetched as soon as the broker answers",
        ),
        ({"releases": (HeldRelease("ccpp", 2, "assigned"),)}, "a try that fails is repeated by itself"),
        ({"releases": (HeldRelease("ccpp", 2, "preflight"),)}, "it is being proven on this machine"),
        (
            {"streams": (ServedStream("main", "ccpp", 2, "CPUExecutionProvider", warming=12, window=(12, 48)),)},
            "serving   nothing yet on stream 'main': its window is warming, 12 of 48 rows",
        ),
        (
            {"releases": (HeldRelease("ccpp", 2, "preflight", building=Building(75.0, 1800.0)),)},
            "its engine is being compiled, for 75 s now, of 1800 s at most",
        ),
        (
            {"releases": (HeldRelease("ccpp", 2, "preflight", building=Building(75.0, 1800.0, 0.25)),)},
            "of 1800 s at most, about 25% done",
        ),
        (
            {
                "releases": (
                    HeldRelease("ccpp", 1, "rolled-back", "NaN"),
                    HeldRelease("ccpp", 2, "refused", "too large"),
                )
            },
            "ccpp@2 is refused (too large); it is not tried again until somebody asks for it: `genba assign ccpp@2 pr",
        ),
    ],
)
def test_why_nothing_is_served_and_what_happens_next(changes: dict[str, object], says: str) -> None:
    assert says in said(**changes)


def test_what_was_dropped_or_late_stands_beside_its_stream() -> None:
    busy = msgspec.structs.replace(IDLE, predictions=7, rejected=1, dropped=12345, late=678)
    row = next(line for line in said(streams=(busy,)).splitlines() if line.startswith("main "))
    assert row.split()[-4:] == ["7", "1", "12345", "678"]


@pytest.mark.parametrize("fault", ["broker b:1883: the connection is lost", "the connection is lost"])
def test_why_there_is_no_connection_is_said_once(fault: str) -> None:
    assert "\nbroker    mqtt://b:1883: the connection is lost\n" in said(connected=False, link=fault)


def test_an_agent_that_has_stopped_is_not_said_to_be_connected() -> None:
    text = said(running=False, connected=False, link="connected")
    assert "\nbroker    mqtt://b:1883: was connected when the agent stopped\n" in text


def test_what_a_stream_asks_for_is_shown() -> None:
    text = said(limits={"main": {"latency_budget_ms": 50.0, "queue_limit": 10, "overflow": "refuse"}})
    assert "\nlimits    main: latency budget 50 ms, queue of 10, refuse when it is full\n" in text
    assert "limits" not in said()


def test_a_measuring_job_in_hand_is_shown() -> None:
    job = RunningMeasurement(12, "press", NOW, "measuring")
    assert "\nmeasuring job 12: 'press' is measured, for 4 s now\n" in said(measuring=job)
    assert "measuring" not in said(measuring=job, running=False)


def test_rejections_that_are_not_listed_are_counted() -> None:
    served = ServedStream("main", "ccpp", 2, "CPU", 10, 10, (Fault("not-json", "it begins b'?'", 6, NOW),))
    assert said(streams=(served,)).splitlines()[-1].split()[:3] == ["main", "4", "others"]


@pytest.mark.parametrize(
    ("asked", "placement", "says"),
    [
        ("CPUExecutionProvider", {"CPUExecutionProvider": 6}, "CPU: all 6 nodes"),
        ("CPUExecutionProvider", {"CPUExecutionProvider": 1}, "CPU: its one node"),
        (
            "TensorrtExecutionProvider",
            {"TensorrtExecutionProvider": 1, "CPUExecutionProvider": 9},
            "asked Tensorrt, ran CPU: 9 of 10 nodes (Tensorrt 1)",
        ),
        ("CUDAExecutionProvider", {"CPUExecutionProvider": 0}, "asked CUDA, ran CPU  "),
        ("", {}, "CPU  "),
    ],
)
def test_a_stream_says_what_was_asked_and_what_runs(asked: str, placement: dict[str, int], says: str) -> None:
    served = ServedStream("main", "ccpp", 2, "CPUExecutionProvider", asked=asked, placement=placement)
    assert f"ccpp@2   {says}" in said(streams=(served,))


def test_a_release_whose_engine_is_compiled_is_shown_as_building_while_another_serves() -> None:
    served = ServedStream("main", "ccpp", 1, "CPUExecutionProvider")
    held = HeldRelease("ccpp", 2, "preflight", building=Building(75.0, 1800.0))
    assert "ccpp@2   building" in said(streams=(served,), releases=(held,))


def test_what_is_served_needs_no_excuse() -> None:
    served = ServedStream(
        "main", "ccpp", 2, "CPUExecutionProvider", 10, 3, (Fault("not-json", "it begins b'?'", 3, NOW),)
    )
    text = said(streams=(served,), releases=(HeldRelease("ccpp", 2, "confirmed"),))
    assert "serving   nothing" not in text
    assert "it begins b'?'" in text
    assert [line.split()[:3] for line in text.splitlines()][-1] == ["main", "3", "not-json"]
