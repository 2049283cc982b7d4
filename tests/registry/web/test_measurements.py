"""Measurements over REST: asked for, signed, answered, expired, cancelled, and refused in words."""

import io

import msgspec
import pytest
from simulators.small_models import regression, write_release

from protocols.measuring import DeviceFigures, Measured, RunningMeasurement, decode_measuring
from protocols.messages import Event, MeasuringChanged, Status, decode, encode
from protocols.topics import DeviceTopics
from registry.catalogue import Catalogue
from registry.delivery import Source
from registry.errors import ResourceMissingError
from registry.measuring import MOST_WAITING, Upkeep
from registry.mqtt.ingest import Ingest
from registry.mqtt.nudges import Nudges
from registry.web import create_app


@pytest.fixture
def graph(tmp_path):
    write_release(tmp_path / "graph")
    return tmp_path / "graph"


@pytest.fixture
def say(catalogue, clock):
    """Let a device say something, as its broker brings it."""
    ingest = Ingest(catalogue, clock)
    return lambda device, channel, message: ingest.take(DeviceTopics("osaka", device).up(channel), encode(message))


@pytest.fixture
def devices(enrol, say):
    for name in ("press-1", "press-2", "oven-1"):
        enrol(name)
    for name in ("press-1", "press-2"):
        say(name, "status", Status(at=1.0, online=True, profile="x86", measures=True))
    say("oven-1", "status", Status(at=1.0, online=True, profile="x86"))


@pytest.fixture
def ask(api, graph):
    def do(devices: str, files=("model.onnx", "golden.npz"), **query):
        named = "".join(f"&{name}={value}" for name, value in query.items())
        data = {name: (io.BytesIO((graph / name).read_bytes()), name) for name in files}
        return api("POST", f"/measurements?devices={devices}{named}", data, content_type="multipart/form-data")

    return do


def figures(**changes) -> DeviceFigures:
    plain = {"device": "someone-else", "profile": "jetson-orin", "outcome": "measured", "latency_p50_ms": 0.5}
    return DeviceFigures(**{**plain, **changes})


def answer(number: int, event: int = 1, **changes) -> Event:
    return Event(
        event, 1.0, "measured", "info", "", None, None, msgspec.to_builtins(Measured(number, figures(**changes)))
    )


def test_a_measurement_is_signed_for_its_device_and_for_no_other(home, clock, devices, ask):
    asked = ask("press-1", wait_s=60)
    assert asked.status_code == 202, asked.text
    number = asked.json["id"]
    assert asked.headers["Location"] == f"/api/v1/measurements/{number}"
    assert [(one["device"], one["state"]) for one in asked.json["devices"]] == [("press-1", "waiting")]
    source = Source(home, clock)
    documents = list((home / "director/devices/press-1/targets").glob("*.measuring.json"))
    data = source.open("press-1", f"director/targets/{documents[0].name}").read(0, 9999)
    (order,) = decode_measuring(data).orders
    assert (order.number, order.expires_at, order.seconds) == (number, clock() + 60, 60.0)
    digest = Catalogue.open(home, clock).measurements.get(number).files["model.onnx"].sha256
    resource = f"director/targets/{digest}.measuring-{number}.model.onnx"
    found = source.open("press-1", resource)
    assert found.read(0, found.size) == regression().SerializeToString()
    for device, name in (("press-2", resource), ("press-1", resource.replace(digest, "0" * 64))):
        with pytest.raises(ResourceMissingError):
            source.open(device, name)


def test_what_a_device_says_is_its_own_and_ends_the_job(home, clock, api, catalogue, devices, ask, say):
    number = ask("profile=x86").json["id"]
    say("press-1", "event", answer(number))
    say("press-1", "event", answer(number, 2, latency_p50_ms=99.0))
    say("oven-1", "event", answer(number))
    found = {one["device"]: one for one in api("GET", f"/measurements/{number}").json["devices"]}
    assert found.keys() == {"press-1", "press-2"}, "oven-1 takes no measuring jobs"
    assert (
        found["press-1"]["figures"] | {"device": "press-1", "profile": "x86", "latency_p50_ms": 0.5}
        == (found["press-1"]["figures"])
    )
    assert found["press-2"]["state"] == "waiting"
    say("press-2", "event", answer(number, outcome="refused", reason="golden vectors: no"))
    document = api("GET", f"/measurements/{number}").json
    assert (document["state"], document["devices"][1]["text"]) == ("done", "golden vectors: no")
    Upkeep(home, catalogue, clock).keep()
    assert not (home / "measurements" / str(number)).exists()
    documents = (home / "director/devices/press-1/targets").glob("*.measuring.json")
    newest = max(documents, key=lambda path: path.stat().st_mtime_ns)
    assert decode_measuring(newest.read_bytes()).orders == ()


def test_a_device_that_stays_away_is_waited_for_and_then_told_of(home, clock, api, catalogue, devices, ask, say):
    say("press-1", "status", Status(at=2.0, online=False))
    number = ask("press-1", wait_s=30).json["id"]
    before = api("GET", f"/measurements/{number}").json["devices"][0]
    assert (before["state"], before["text"]) == (
        "waiting", "the device is offline; it measures when it is back in time",
    )  # fmt: skip
    clock.now += 29
    Upkeep(home, catalogue, clock).keep()
    assert api("GET", f"/measurements/{number}").json["state"] == "waiting"
    clock.now += 2
    Upkeep(home, catalogue, clock).keep()
    after = api("GET", f"/measurements/{number}").json["devices"][0]
    assert (after["state"], after["text"]) == ("expired", "the device was offline until the job expired")
    say("press-1", "event", answer(number))
    assert api("GET", f"/measurements/{number}").json["devices"][0]["state"] == "expired"


def test_a_measurement_outlives_the_registry(home, clock, devices, ask, say):
    number = ask("press-1").json["id"]
    again = Catalogue(home, clock)
    assert [one.id for one in again.measurements.waiting("press-1")] == [number]
    Upkeep(home, again, clock).keep()
    assert (home / "measurements" / str(number) / "model.onnx").is_file()
    again.close()


def test_a_cancelled_measurement_is_signed_no_more(home, clock, api, catalogue, devices, ask):
    number = ask("press-1").json["id"]
    cancelled = api("DELETE", f"/measurements/{number}")
    assert cancelled.json["devices"][0]["state"] == "cancelled"
    assert api("GET", "/measurements").json[0]["state"] == "done"
    Upkeep(home, catalogue, clock).keep()
    assert not (home / "measurements" / str(number)).exists()


def test_a_measurement_that_runs_says_so(api, devices, ask, say):
    number = ask("press-1").json["id"]
    running = RunningMeasurement(number, "measured", 1.0, "measuring")
    say("press-1", "status", Status(at=2.0, online=True, measures=True, measuring=running))
    assert api("GET", f"/measurements/{number}").json["devices"][0]["state"] == "running"


def test_each_device_hears_of_its_newest_job(catalogue, devices, ask):
    numbers = [ask(name).json["id"] for name in ("press-1", "press-2", "press-1")]
    said: dict[str, bytes] = {}
    nudges = Nudges(catalogue, lambda topic, payload, retain: said.update({topic: payload}) is None)
    nudges.poll()
    heard = {topic: decode(MeasuringChanged, data).number for topic, data in said.items() if "measuring" in topic}
    assert heard == {
        "genba/1/osaka/press-1/down/measuring": numbers[2],
        "genba/1/osaka/press-2/down/measuring": numbers[1],
    }


@pytest.mark.parametrize(
    ("devices_named", "status", "text"),
    [
        ("oven-1", 422, "takes no measuring jobs: put `measure = true` into its agent.toml"),
        ("site=nagoya", 404, "matches no device"),
        ("press-9", 404, "known devices"),
        ("", 400, "devices: is missing"),
    ],
)
def test_who_cannot_measure_is_refused_with_the_way_out(devices, ask, devices_named, status, text):
    refused = ask(devices_named)
    assert (refused.status_code, text in refused.json["detail"]) == (status, True), refused.text


def test_what_cannot_be_measured_is_refused_with_the_way_out(devices, ask, graph, api, home):
    assert "golden.npz is missing" in ask("press-1", files=("model.onnx",)).json["detail"]
    assert "reference" in ask("press-1", files=("model.onnx", "reference")).json["detail"]
    assert "wait_s" in ask("press-1", wait_s=1e9).json["detail"]
    assert "seconds" in ask("press-1", seconds="nan").json["detail"]
    (graph / "model.onnx").write_bytes(b"no graph")
    refused = ask("press-1")
    assert (refused.status_code, "model.onnx" in refused.json["detail"]) == (422, True)
    (graph / "golden.npz").write_bytes(b"no vectors")
    assert "numpy.savez" in ask("press-1").json["detail"]
    assert not list((home / "run").glob("measure-*"))
    assert api("GET", "/measurements").json == []
    assert api("GET", "/measurements/1").status_code == 404


def test_a_graph_that_is_too_large_is_refused(tmp_path, home, clock, initialised, devices, ask):
    (home / "registry.toml").write_text("measure_limit_bytes = 100\n")
    client = create_app(home, clock=clock).test_client()
    data = {name: (io.BytesIO(b"0" * 300), name) for name in ("model.onnx", "golden.npz")}
    headers = {"Authorization": f"Bearer {initialised[1]}"}
    answer = client.post("/api/v1/measurements?devices=press-1", data=data, headers=headers)
    assert answer.status_code == 413


def test_too_many_that_wait_are_refused(devices, ask, catalogue):
    for _ in range(16):
        assert ask("press-1").status_code == 202
    assert "16 jobs wait for device 'press-1'" in ask("press-1").json["detail"]
    assert MOST_WAITING > 16
