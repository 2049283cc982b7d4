"""Windows, images and state from end to end: an agent as a process, a real broker, really signed releases."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest
from simulators.agent_process import Agent, Line, assign
from simulators.broker_process import wait_until
from simulators.registry_side import RegistrySide, SignedReleases
from simulators.small_kinds import Kind, picture, pictured, stateful, windowed, write_kind

from edge_agent.settings import AgentHome
from protocols.feeding import FIGURES
from protocols.names import ReleaseRef
from protocols.payloads import message_id

ONE, TWO = ReleaseRef("ccpp", 1), ReleaseRef("ccpp", 2)


def published(signed: SignedReleases, folder: Path, ref: ReleaseRef, kind: Kind) -> None:
    write_kind(folder / str(ref), kind, name=ref.model, version=ref.version)
    signed.publish(ref, folder / str(ref))


def test_images_over_the_broker_are_classified_and_bad_ones_are_counted(
    agent: Agent, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE, pictured())
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    red, green = picture((255, 0, 0)), picture((0, 255, 0), "JPEG", (1600, 1200))
    for payload in (red, green[: len(green) // 2], b"not an image", json.dumps({"AT": 1}).encode(), green):
        line.send(payload)
    wait_until(lambda: len(line.predictions.get(None, [])) == 2, what="two predictions")
    answers = {answer["id"]: answer["prediction"] for answer in line.predictions[None]}
    assert answers == {message_id(red): "red", message_id(green): "green"}
    windows = registry_side.wait_for(
        lambda: [
            window
            for window in [list(registry_side.windows.values())]
            if sum(one.predictions + sum(one.rejected.values()) for one in window) == 5
        ]
    )[0]
    assert set(windows[-1].numeric) == set(FIGURES)
    assert sum((Counter(window.rejected) for window in windows), Counter()) == {"broken-image": 1, "not-an-image": 2}
    assert agent.stop() == 0


def test_a_window_fills_and_is_told_in_the_status_then_answers(
    agent: Agent, line: Line, signed: SignedReleases, registry_side: RegistrySide, home: AgentHome, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE, windowed())
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    for at in range(3):
        line.send({"id": at, "AT": at, "V": 0})
    registry_side.wait_for(
        lambda: any(stream.window == (3, 4) for status in registry_side.statuses[-1:] for stream in status.streams)
    )
    assert line.predictions == {}
    for at in range(3, 6):
        line.send({"id": at, "AT": at, "V": 0})
    wait_until(lambda: len(line.predictions) == 3, what="three predictions")
    assert {key: found[0]["prediction"] for key, found in line.predictions.items()} == {3: 6.0, 4: 10.0, 5: 14.0}


def test_state_is_carried_and_begins_anew_with_the_next_release(
    agent: Agent, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE, stateful())
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    for number, at in enumerate((2.0, 3.0, -1.0, 4.0)):
        line.send({"id": number, "AT": at, "V": 0})
    wait_until(lambda: 3 in line.predictions, what="the last prediction")
    assert [line.predictions[place][0]["prediction"] for place in (0, 1, 3)] == pytest.approx(
        [math.log(2), math.log(6), math.log(24)], rel=1e-5
    )
    assert 2 not in line.predictions
    published(signed, tmp_path, TWO, stateful())
    assign(signed, registry_side, TWO)
    registry_side.wait_for(lambda: registry_side.kinds().count("release-confirmed") == 2)
    line.send({"id": 9, "AT": 2.0, "V": 0})
    wait_until(lambda: 9 in line.predictions, what="the new release's prediction")
    answer = line.predictions[9][0]
    assert (answer["version"], answer["prediction"]) == (2, pytest.approx(math.log(2), rel=1e-5))
