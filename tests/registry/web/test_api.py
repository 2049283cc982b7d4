"""The REST API: what goes in, what comes out, and how bad input is told."""

import gzip
import io
import json

import pytest
from simulators.candidates import named_graph


@pytest.fixture
def upload(api):
    def do(folder, model="ccpp"):
        parts = {path.name: (io.BytesIO(path.read_bytes()), path.name) for path in folder.iterdir()}
        return api("POST", f"/models/{model}/releases", parts, content_type="multipart/form-data")

    return do


def assignment(version=1, **changes):
    stream = {"name": "main", "model": "ccpp", "topic": "line/sensors", "output_topic": "line/predictions", **changes}
    return {"releases": [{"model": "ccpp", "version": version}], "streams": [stream]}


def test_a_candidate_becomes_a_release(upload, api, make_candidate):
    made = upload(make_candidate())
    assert made.status_code == 201, made.text
    assert made.location == "/api/v1/models/ccpp/releases/1"
    assert (made.json["version"], made.json["champion"], made.json["published_by"]) == (1, True, "operator")
    assert api("GET", "/models/ccpp").json["champion"] == 1
    assert upload(make_candidate(named=b"another")).json["version"] == 2
    assert [one["version"] for one in api("GET", "/models/ccpp/releases").json] == [2, 1]


def test_a_released_file_comes_back_as_it_was_signed(upload, api, make_candidate):
    upload(make_candidate(named=b"the graph"))
    response = api("GET", "/models/ccpp/releases/1/files/model.onnx")
    assert response.data == named_graph(b"the graph")
    assert json.loads(api("GET", "/models/ccpp/releases/1/files/release.json").data)["version"] == 1
    missing = api("GET", "/models/ccpp/releases/1/files/weights.bin")
    assert missing.status_code == 404
    assert "it has release.json" in missing.json["detail"]


def test_an_edited_candidate_is_refused(upload, make_candidate, home):
    folder = make_candidate()
    (folder / "model.onnx").write_bytes(b"edited")
    answer = upload(folder)
    assert answer.status_code == 422
    assert "model.onnx is not the file that release.json describes" in answer.json["detail"]
    assert list((home / "run").glob("upload-*")) == []


def test_a_candidate_for_another_model_is_refused(upload, make_candidate):
    answer = upload(make_candidate(), model="line4")
    assert answer.status_code == 422
    assert "names the model 'ccpp', and the address 'line4'" in answer.json["detail"]


def test_a_file_that_is_no_part_of_a_candidate_is_refused(api):
    parts = {"x": (io.BytesIO(b""), "../../evil")}
    answer = api("POST", "/models/ccpp/releases", parts, content_type="multipart/form-data")
    assert answer.status_code == 400
    assert "is not a file of a candidate" in answer.json["detail"]


def test_an_assignment_is_numbered_and_read_back(api, published, enrol):
    enrol("press-1")
    assert api("GET", "/devices/press-1/assignment").json == {"device": "press-1", "revision": 0}
    put = api("PUT", "/devices/press-1/assignment", assignment())
    assert put.status_code == 200, put.text
    assert put.json["revision"] == 1
    assert api("GET", "/devices/press-1/assignment").json == put.json
    assert api("GET", "/devices/press-1").json["revision"] == 1


def test_an_unknown_device_is_told_with_the_known_ones(api, published, enrol):
    enrol("press-1")
    answer = api("PUT", "/devices/press-9/assignment", assignment())
    assert answer.status_code == 404
    assert answer.json["detail"] == "device 'press-9' is not known; known devices: press-1"


def test_an_unknown_release_is_told_with_the_known_ones(api, published, enrol):
    enrol("press-1")
    answer = api("PUT", "/devices/press-1/assignment", assignment(version=7))
    assert answer.status_code == 404
    assert answer.json["detail"] == "release ccpp@7 is not known; ccpp has the versions 1"


def test_an_input_that_the_model_lacks_is_refused(api, published, enrol):
    enrol("press-1")
    answer = api("PUT", "/devices/press-1/assignment", assignment(inputs={"temp": "$.t"}))
    assert answer.status_code == 422
    assert "'temp', and model 'ccpp' has the inputs AT, V, RH, grade" in answer.json["detail"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"topic": "genba/1/x"}, "must be a plain topic outside genba/"),
        ({"inputs": {"AT": "$["}}, "JSON path"),
        ({"name": "Ü"}, "stream name 'Ü' is refused"),
        ({"queue_limit": 0}, "queue_limit is 0; it must be from 1"),
    ],
)
def test_a_stream_that_contradicts_itself_is_refused(api, published, enrol, changes, says):
    enrol("press-1")
    answer = api("PUT", "/devices/press-1/assignment", assignment(**changes))
    assert answer.status_code == 400
    assert says in answer.json["detail"]


def test_a_release_is_swapped_by_selector(api, upload, make_candidate, enrol):
    upload(make_candidate())
    upload(make_candidate(named=b"better"))
    for device, site in (("a", "osaka"), ("b", "osaka"), ("c", "nagoya"), ("idle", "osaka")):
        enrol(device, site)
    for device in "abc":
        api("PUT", f"/devices/{device}/assignment", assignment())
    swapped = api("POST", "/assignments", {"release": "ccpp@2", "devices": "site=osaka"})
    assert [one["device"] for one in swapped.json] == ["a", "b"]
    assert api("GET", "/models/ccpp").json["champion"] == 1
    api("POST", "/assignments", {"release": "ccpp@2", "devices": ["c"]})
    assert api("GET", "/models/ccpp").json["champion"] == 2
    idle = api("POST", "/assignments", {"release": "ccpp@2", "devices": ["idle"]})
    assert idle.status_code == 422
    assert "--topic" in idle.json["detail"]


def test_a_dataset_is_kept_by_digest(api):
    sent = api("POST", "/datasets?name=line4.csv", b"a,b\n1,2\n", content_type="text/csv")
    assert sent.status_code == 201
    assert [(one["name"], one["size_bytes"]) for one in api("GET", "/datasets").json] == [("line4.csv", 8)]
    assert api("POST", "/datasets?name=a.csv", b"", content_type="text/csv").status_code == 400
    assert api("POST", "/datasets", b"x", content_type="text/csv").json["field"] == "name"


def test_a_training_is_queued(api):
    sha256 = api("POST", "/datasets?name=line4.csv", b"a,b\n1,2\n", content_type="text/csv").json["sha256"]
    body = {"kind": "train", "model": "line4", "dataset": sha256, "target": "b", "budget_s": 5, "seed": 3}
    queued = api("POST", "/jobs", body)
    assert queued.status_code == 202
    assert queued.location == f"/api/v1/jobs/{queued.json['id']}"
    job = api("GET", f"/jobs/{queued.json['id']}").json
    assert (job["state"], job["parameters"]["target"], job["reason"]) == ("waiting", "b", "asked for by operator")


def test_a_training_takes_what_the_command_line_takes(api):
    sha256 = api("POST", "/datasets?name=line4.csv", b"a,b\n1,2\n", content_type="text/csv").json["sha256"]
    wishes = {
        "metric": "roc_auc", "miss_cost": 20.0, "false_alarm_cost": 1.0, "positive": "yes", "max_size_bytes": 500_000,
        "prefer": "smallest", "drop": ["id"], "group": "batch", "quantise": ["int8"],
    }  # fmt: skip
    queued = api("POST", "/jobs", {"kind": "train", "model": "line4", "dataset": sha256, "target": "b"} | wishes)
    assert api("GET", f"/jobs/{queued.json['id']}").json["parameters"]["wishes"] == wishes


@pytest.mark.parametrize(
    ("wishes", "field", "says"),
    [
        ({"metric": "accurate"}, "metric", "accurate"),
        ({"max_size_bytes": 0}, "max_size_bytes", "which is 0"),
        ({"miss_cost": 3}, "false_alarm_cost", "belong together"),
        ({"positive": "yes"}, "false_alarm_cost", "belong together"),
        ({"drop": ["a", "b"]}, "drop", "names 'b', which is the target"),
        ({"keep": ["a"], "drop": ["id", "a"]}, "drop", "names 'a', and so does keep"),
        ({"kind": "retrain", "group": "batch"}, "group", "keeps what its champion's user wished"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_before_the_training_is_queued(api, wishes, field, says):
    sha256 = api("POST", "/datasets?name=line4.csv", b"a,b\n1,2\n", content_type="text/csv").json["sha256"]
    refused = api("POST", "/jobs", {"kind": "train", "model": "line4", "dataset": sha256, "target": "b"} | wishes)
    assert refused.status_code in {400, 422}
    assert refused.json["field"] == field
    assert says in refused.json["detail"]
    assert not api("GET", "/jobs").json


def test_a_training_on_an_unknown_dataset_is_refused(api):
    answer = api("POST", "/jobs", {"kind": "train", "model": "line4", "dataset": "0" * 64, "target": "b"})
    assert answer.status_code == 404
    assert "POST /api/v1/datasets" in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"device": "a"}, "site", "is missing"),
        ({"device": 5, "site": "b"}, "device", "which is 5"),
        ({"device": "a", "site": "b", "tll_s": 5}, "tll_s", "is not a field"),
        ({"device": "a", "site": "b", "ttl_s": -1}, "ttl_s", "which is -1"),
        ([], "body", "expected `object`"),
    ],
)
def test_a_bad_body_is_told_by_field_value_and_way_out(api, body, field, says):
    answer = api("POST", "/devices/tokens", body)
    assert answer.status_code == 400
    assert answer.json["field"] == field
    assert says in answer.json["detail"]
    assert "GET /openapi.json describes TokenBody" in answer.json["detail"]


def test_a_body_that_is_not_json_is_told(api):
    answer = api("POST", "/devices/tokens", b"{", content_type="application/json")
    assert answer.status_code == 400
    assert "not JSON" in answer.json["detail"]


def test_a_body_that_is_too_large_is_refused(api):
    answer = api("POST", "/devices/tokens", b"x" * (1024 * 1024 + 1), content_type="application/json")
    assert answer.status_code == 413
    assert "1,048,576 bytes" in answer.json["detail"]


def test_labelled_rows_come_as_json_lines_or_csv(api, published, catalogue):
    lines = b'{"AT": 20.5, "grade": "L", "PE": 440.1}\n{"AT": null, "PE": 441}\n'
    assert api("POST", "/models/ccpp/rows", lines, content_type="application/x-ndjson").json == {"count": 2}
    csv = "AT,grade,PE\n21.5,M,438\n,H,437\n".encode("utf-8-sig")
    assert api("POST", "/models/ccpp/rows", csv, content_type="text/csv").json == {"count": 2}
    assert catalogue.rows.newest("ccpp", 2) == [
        {"AT": 21.5, "grade": "M", "PE": 438.0},
        {"AT": None, "grade": "H", "PE": 437.0},
    ]


@pytest.mark.parametrize(
    ("rows", "media", "says"),
    [
        (b'{"AT": 1, "PE": 2}\nnot json\n', "application/x-ndjson", "line 2: "),
        (b'{"AT": 1}\n', "application/x-ndjson", "line 1: lacks a value for the target 'PE'"),
        (b'{"AT": [1], "PE": 1}\n', "application/x-ndjson", "line 1: "),
        (b"AT,PE\n1,2,3\n", "text/csv", "line 2: does not have the header's 2 columns"),
        (b"AT,PE\n", "text/csv", "it holds no rows"),
        (b"", "text/csv", "it holds no rows"),
        (b"\xff\xfe", "text/csv", "not UTF-8"),
        (gzip.compress(b"AT,PE\n1,2\n", mtime=0), "text/csv", "not UTF-8"),
    ],
)
def test_bad_rows_are_told_by_line_and_none_is_kept(api, published, catalogue, rows, media, says):
    answer = api("POST", "/models/ccpp/rows", rows, content_type=media)
    assert answer.status_code == 400
    assert says in answer.json["detail"]
    assert catalogue.rows.count("ccpp") == 0


def test_a_policy_is_checked_and_read_back(api, published):
    put = api("PUT", "/models/ccpp/policy", {"windows_in_a_row": 5})
    assert put.json["windows_in_a_row"] == 5
    assert api("GET", "/models/ccpp/policy").json == put.json
    assert api("PUT", "/models/ccpp/policy", {"windows": 5}).json["field"] == "windows"
    assert api("PUT", "/models/ccpp/policy", {"windows_in_a_row": 0}).status_code == 400


def test_telemetry_is_read_into_figures(api, filled):
    window = api("GET", "/devices/unit-a/telemetry?limit=1").json[0]
    assert window["predictions"] == 300
    assert window["latency_p50_ms"] < window["latency_p99_ms"]
    assert window["numeric"]["AT"]["p05"] < window["numeric"]["AT"]["p50"] < window["numeric"]["AT"]["p95"]
    assert set(window["categories"]["grade"]["frequent"]) == {"L", "M", "H"}


def test_drift_reports_come_newest_first(api, filled):
    reports = api("GET", "/models/ccpp/drift-reports?limit=3").json
    assert [report["drifted"] for report in reports] == [True] * 3
    assert reports[0]["end"] > reports[1]["end"]


def test_a_limit_that_is_no_number_is_told(api, filled):
    assert api("GET", "/events?limit=many").json["detail"] == "limit: 'many' is not a whole number from 1 to 1000"


def test_who_changed_what_is_kept(api, published):
    api("PUT", "/models/ccpp/policy", {"windows_in_a_row": 5})
    newest = api("GET", "/events").json[0]
    assert (newest["kind"], newest["detail"]["by"]) == ("policy-changed", "operator")


def test_there_is_nothing_at_an_unknown_address(api):
    answer = api("GET", "/nothing")
    assert answer.status_code == 404
    assert answer.mimetype == "application/problem+json"
    assert "/api/v1/nothing" in answer.json["detail"]


def test_a_method_that_is_not_possible_is_told(api):
    answer = api("DELETE", "/models")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


def test_a_fault_says_nothing_of_its_inside(app, api, catalogue, monkeypatch):
    def broken(*_):
        raise RuntimeError("secret detail")

    app.view_functions["models.list_models"] = broken
    answer = api("GET", "/models")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
