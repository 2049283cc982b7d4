"""A rehearsal against a real registry over its real broker: what the operator sees, and what the devices say."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from simulators.broker_process import wait_until

from protocols.names import ReleaseRef
from rehearsal.fleet import Cast, Fleet, RehearsalError

ONE = ReleaseRef("ccpp", 1)


@pytest.fixture
def hold(serving: Any, tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Enrol a fleet, assign the release to it, and switch it on."""
    held: list[Fleet] = []

    def start(prefix: str, **options: Any) -> Fleet:
        fleet = Fleet(Cast(prefix=prefix, **options), tmp_path / prefix, serving.client)
        held.append(fleet)
        fleet.enrol()
        fleet.assign(ONE, window_s=1.0)
        fleet.start()
        return fleet

    yield start
    for fleet in held:
        fleet.stop()


def states(serving: Any, name: str) -> set[str]:
    """What the registry has heard of a device's releases."""
    status = serving.client.get(f"/devices/{name}")["status"] or {}
    return {release["state"] for release in status.get("releases", ())}


def test_twenty_devices_enrol_install_and_report_and_some_refuse(serving: Any, hold: Callable[..., Fleet]) -> None:
    fleet = hold("many", devices=20, fail=0.1, drift=0.5, rate_hz=5.0)
    wait_until(lambda: fleet.census().installed == 18, 60, "18 devices that serve")
    wait_until(lambda: fleet.census().refused == 2, 60, "2 devices that refuse")
    census = fleet.census()
    assert (census.enrolled, census.online, census.assigned) == (20, 20, 20)
    assert census.messages > 20 * 5
    known = {one["name"]: one for one in serving.client.get("/devices")}
    assert {known[name]["site"] for name in fleet.names} == {"rehearsal"}
    assert {known[name]["profile"] for name in fleet.names} == {"x86", "raspberry-pi-4", "raspberry-pi-5"}
    wait_until(
        lambda: sum("refused" in states(serving, name) for name in fleet.names) == 2, 30, "the refusals at the registry"
    )
    for device in fleet.devices:
        pulled = device.home.releases / "ccpp" / "1" / "model.onnx"
        assert pulled.exists() or any(one.state == "refused" for one in device.look().releases)  # type: ignore[union-attr]
    well = next(device for device in fleet.devices if device.look().streams[0].version)  # type: ignore[union-attr]
    name = well.home.folder.name
    window = wait_until(lambda: serving.client.get(f"/devices/{name}/telemetry"), 30, "telemetry")[0]
    assert window["predictions"] > 0
    assert set(window["numeric"]) == {"AT", "V"}


def test_devices_come_and_go_and_serve_again(hold: Callable[..., Fleet]) -> None:
    fleet = hold("moving", devices=2, offline=1.0, away_s=3.0)
    wait_until(lambda: fleet.census().installed == 2, 30, "both devices serve")
    wait_until(lambda: fleet.census().online < 2, 30, "one that went")
    wait_until(lambda: fleet.census().online == 2, 60, "both again")
    wait_until(lambda: all(device.look().streams for device in fleet.devices), 30)  # type: ignore[union-attr]


def test_real_inference_proves_in_a_child_process(hold: Callable[..., Fleet]) -> None:
    fleet = hold("real", devices=1, real_inference=True, profiles=("x86",))
    wait_until(lambda: fleet.census().installed == 1, 60, "the device serves")
    page = fleet.devices[0].look()
    assert page is not None
    assert page.streams[0].provider == "CPUExecutionProvider"


def test_names_of_an_earlier_fleet_are_refused_with_the_ways_out(serving: Any, tmp_path: Path) -> None:
    cast = Cast(prefix="again", devices=1)
    Fleet(cast, tmp_path / "first", serving.client).enrol()
    with pytest.raises(RehearsalError, match=r"again-001 is enrolled already.*--replace.*--prefix"):
        Fleet(cast, tmp_path / "second", serving.client).enrol()
    Fleet(cast, tmp_path / "third", serving.client).enrol(replace=True)


def test_a_fleet_that_was_kept_is_taken_up_again(serving: Any, tmp_path: Path) -> None:
    cast = Cast(devices=2, prefix="kept")
    for _ in range(2):
        fleet = Fleet(cast, tmp_path, serving.client)
        fleet.enrol()
        fleet.start()
        wait_until(lambda: fleet.census().online == 2, 30, "both online")  # noqa: B023
        fleet.stop()
        assert fleet.census().online == 0


def test_the_command_ends_by_ctrl_c_with_a_summary_and_leaves_nothing(serving: Any, root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "genba", "simulate", "fleet", "--devices", "3", "--prefix", "cli"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "TMPDIR": str(tmp_path),
        "GENBA_REGISTRY": serving.url,
        "GENBA_TOKEN": serving.token,
    }
    child = subprocess.Popen(
        [*command, "--release", "ccpp@1", "--window", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    names = {"cli-001", "cli-002", "cli-003"}
    try:
        wait_until(lambda: names <= {one["name"] for one in serving.client.get("/devices")}, 30, "three enrolled")
        wait_until(lambda: all({"active", "confirmed"} & states(serving, name) for name in names), 60, "three serve")
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    finally:
        child.kill()
        child.communicate()
    assert (child.returncode, err) == (0, "")
    assert re.match(r"3 devices enrolled, 3 online at the end, 3 assigned, 3 installed, 0 refused; \d+ messages", out)
    assert list(tmp_path.glob("genba-fleet-*")) == []


@pytest.mark.parametrize("wrong", [{"drift": 1.5}, {"fail": -0.1}, {"devices": 0}, {"rate_hz": 0.0}])
def test_a_cast_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RehearsalError):
        Cast(**{"devices": 2, **wrong})
