"""Locking a device out: over REST, on the pages, and what it then still gets."""

import json
from datetime import UTC, datetime

from protocols.messages import BlockRequest, Status, encode
from protocols.topics import DeviceTopics
from registry.delivery import Source
from registry.mqtt.ingest import Ingest

STREAM = {"name": "main", "model": "ccpp", "topic": "plant/sensors", "output_topic": "plant/out"}
TOPICS = DeviceTopics("osaka", "press-1")


def assigned(api):
    body = {"releases": [{"model": "ccpp", "version": 1}], "streams": [STREAM]}
    answer = api("PUT", "/devices/press-1/assignment", body)
    assert answer.status_code == 200, answer.text


def director_targets(home, clock):
    source = Source(home, clock)
    snapshot = json.loads(source.open("press-1", "director/metadata/timestamp.json").read(0, 10**6))
    number = snapshot["signed"]["meta"]["snapshot.json"]["version"]
    listed = json.loads(source.open("press-1", f"director/metadata/{number}.snapshot.json").read(0, 10**6))
    number = listed["signed"]["meta"]["targets.json"]["version"]
    targets = json.loads(source.open("press-1", f"director/metadata/{number}.targets.json").read(0, 10**6))
    return set(targets["signed"]["targets"])


def test_a_revoked_device_is_directed_to_run_nothing(api, home, clock, published, enrol):
    enrol("press-1")
    assigned(api)
    assert "ccpp/1/model.onnx" in director_targets(home, clock)
    answer = api("POST", "/devices/press-1/revoke")
    assert answer.json == {"holder": "osaka.press-1", "revoked_at": clock.now, "certificates": 1}
    assert director_targets(home, clock) == {"assignment.json"}
    assert api("GET", "/devices/press-1/assignment").json["revision"] == 2
    since = f"device 'press-1' is locked out since {datetime.fromtimestamp(clock.now, UTC):%Y-%m-%d %H:%M} UTC"
    refused = api("POST", "/assignments", {"release": "ccpp@1", "devices": "press-1"})
    assert (refused.status_code, refused.json["detail"].split(";")[0]) == (422, since)
    assert "--device press-1 --site osaka --replace" in refused.json["detail"]
    body = {"releases": [{"model": "ccpp", "version": 1}], "streams": [STREAM]}
    refused = api("PUT", "/devices/press-1/assignment", body)
    assert refused.json["detail"].startswith(since)


def test_nothing_is_taken_from_a_revoked_device_from_then_on(api, catalogue, clock, enrol):
    enrol("press-1")
    ingest = Ingest(catalogue, clock)
    status = encode(Status(clock.now, True))
    assert ingest.take(TOPICS.up("status"), status)
    api("POST", "/devices/press-1/revoke")
    assert ingest.take(TOPICS.up("status"), status) is None
    asked = BlockRequest(1, "image/metadata/1.root.json", 1024, 0, b"\x01")
    assert ingest.take(TOPICS.up("blocks"), encode(asked)) is None
    assert ingest.refused == {"revoked": 2}
    assert not catalogue.devices.get("press-1").online


def test_revoking_twice_or_a_stranger_is_told(api, anonymous, catalogue, clock, enrol):
    enrol("press-1")
    assert anonymous("POST", "/devices/press-1/revoke").status_code == 401
    assert api("POST", "/devices/press-9/revoke").json["detail"].endswith("known devices: press-1")
    first = api("POST", "/devices/press-1/revoke").json
    clock.now += 60
    assert api("POST", "/devices/press-1/revoke").json == {**first, "certificates": 0}
    assert [event.kind for event in catalogue.events.list(device="press-1")].count("revoked") == 1


def test_the_pages_and_documents_say_it_with_the_way_back(api, client, clock, enrol):
    enrol("press-1")
    assert api("GET", "/devices/press-1").json["expires_at"] == clock.now + 90 * 86_400
    api("POST", "/devices/press-1/revoke")
    page = client.get("/devices/press-1").text
    assert "It was locked out" in page
    assert "--device press-1 --site osaka --replace" in page
    assert "press-1 is locked out: its certificates are void" in page
    assert "locked out" in client.get("/devices").text
    assert api("GET", "/devices").json[0]["revoked_at"] == clock.now


def test_enrolling_anew_is_the_way_back(api, catalogue, clock, enrol):
    enrol("press-1")
    api("POST", "/devices/press-1/revoke")
    clock.now += 1
    enrol("press-1", replace=True)
    assert api("GET", "/devices/press-1").json["revoked_at"] is None
    held = catalogue.certificates.of("osaka.press-1")
    assert [one.revoked_at is None for one in held] == [True, False]
