"""The pages: what a person sees, empty and filled."""

import re
from html.parser import HTMLParser

import msgspec
import pytest
from simulators.candidates import named_graph
from simulators.plant_history import write_history

from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from protocols.messages import Building, HeldRelease, Status
from registry.assigning import assign
from registry.publication import publish

PAGES = ("/", "/devices", "/jobs", "/login")
VOID = {"meta", "link", "input", "br", "rect", "line", "path", "circle"}


class Balance(HTMLParser):
    """Checks that every element which opens is closed, in order, and collects what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src", "action"):
                self.references.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline.append(f"{tag} {name}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open, f"</{tag}> closes nothing"
            assert self.open.pop() == tag, f"</{tag}> at line {self.getpos()[0]}"


def check(response) -> str:
    assert response.status_code == 200, response.text
    page = Balance()
    page.feed(response.text)
    assert page.open == []
    assert page.inline == [], "the content security policy would block these"
    assert all(ref.startswith("/") for ref in page.references if not ref.startswith("#")), page.references
    assert "<script" not in response.text
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.text))


@pytest.mark.parametrize("path", PAGES)
def test_an_empty_registry_has_whole_pages(client, path):
    check(client.get(path))


def test_empty_pages_say_what_to_do_next(client):
    assert "genba train" in check(client.get("/"))
    assert "genba registry token" in check(client.get("/devices"))
    assert "/api/v1/jobs" in check(client.get("/jobs"))


def test_a_published_model_without_devices_says_how_to_assign_it(client, published):
    assert "genba assign ccpp@1 DEVICE" in check(client.get("/models/ccpp"))


def test_the_release_page_shows_proof_and_lineage(client, published):
    text = check(client.get("/models/ccpp/releases/1"))
    for expected in (
        "✓ passed",
        "held out",
        "957",
        "gradient boosting",
        "1.8 to 25 °C",
        "missing values",
        "✓ dealt with",
    ):
        assert expected in text


def test_the_release_page_shows_variants_and_what_a_processor_must_have(client, home, catalogue, clock, make_candidate):
    made = make_candidate(int8=named_graph(b"int8"), cpu_features=("avx2",))
    publish(home, catalogue, made, clock, published_by="test")
    text = check(client.get("/models/ccpp/releases/1"))
    assert "Variant int8" in text
    assert "by hand; differs by up to 0.5 (1 allowed)" in text
    assert "must have avx2" in text


def test_drift_is_told_in_the_plants_own_units(client, filled):
    text = check(client.get("/models/ccpp"))
    assert "▲ drifted" in text
    assert re.search(r"AT ▲ moved .* median 1[34](\.\d)? °C median 2[89](\.\d)? °C", text)
    assert "ccpp@1 learned" in text


def test_the_drift_plot_marks_threshold_and_release_changes(client, filled):
    html = client.get("/models/ccpp").text
    assert html.count('class="threshold"') == 1
    assert "drift from 0.2" in html
    assert "AT: PSI" in html


def test_the_device_page_shows_what_runs_and_what_was_refused(client, filled):
    text = check(client.get("/devices/unit-a"))
    assert "ccpp@1 on CPU" in text
    assert "3 × not json" in text
    assert "not-json: expecting value at byte 0" in text


def test_the_device_page_shows_what_was_asked_what_ran_and_what_is_being_compiled(client, catalogue, filled):
    status = catalogue.devices.get("unit-a").status
    served = msgspec.structs.replace(
        status.streams[0],
        asked="CUDAExecutionProvider",
        placement={"CPUExecutionProvider": 9, "CUDAExecutionProvider": 1},
    )
    built = HeldRelease("ccpp", 2, "preflight", building=Building(90.0, 1800.0, 0.5))
    catalogue.devices.update_status("unit-a", msgspec.structs.replace(status, streams=(served,), releases=(built,)))
    text = check(client.get("/devices/unit-a"))
    assert "asked CUDA, ran CPU: 9 of 10 nodes (CUDA 1)" in text
    assert "compiled for 1 minute now, of 30 minutes at most, about 50% done; what served before serves on" in text


def test_the_overview_says_what_runs_where(client, filled):
    text = check(client.get("/"))
    assert "● online" in text
    assert "○ offline" in text
    assert "AT" in text


def test_a_job_page_shows_result_and_failure(client, filled):
    text = check(client.get("/jobs"))
    assert "✗ failed" in text
    assert "ccpp@1 released" in text


def test_names_from_devices_cannot_become_markup(client, catalogue, published, enrol):
    enrol("press-1")
    catalogue.events.record("x", "<script>alert(1)</script>")
    text = client.get("/").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_an_unknown_model_gets_a_page_that_names_the_known_ones(client, published):
    response = client.get("/models/cpp")
    assert response.status_code == 404
    assert response.mimetype == "text/html"
    assert "known models: ccpp" in response.text


def test_a_device_that_fell_silent_is_not_shown_online(client, api, filled, clock):
    assert "◌ silent" not in check(client.get("/devices"))
    clock.now += 7 * 60
    for path in ("/", "/devices", "/devices/unit-a"):
        text = check(client.get(path))
        assert "◌ silent, last heard 7 minutes ago" in text
        assert "● online" not in text
    assert "0 of 3 online" in check(client.get("/"))
    assert "○ offline" in check(client.get("/devices/unit-c")), "its end was reported"
    document = api("GET", "/devices/unit-a").json
    assert (document["online"], document["presence"]) == (False, "silent")


def test_a_device_is_silent_only_after_several_of_its_own_windows(client, home, catalogue, filled, clock):
    assignment = catalogue.assignments.get("unit-a")
    assign(home, catalogue, msgspec.structs.replace(assignment, window_s=3600.0), clock)
    clock.now += 7 * 60
    assert "● online" in check(client.get("/devices/unit-a"))


def test_facts_of_a_machine_are_words(client, catalogue, filled, clock):
    probe = {
        "board": None,
        "jetpack": "",
        "swap": True,
        "providers": ["CPUExecutionProvider"],
        "memory_bytes": 8 * 10**9,
    }
    catalogue.devices.update_status("unit-a", Status(clock.now, True, revision=1, probe=probe))
    text = check(client.get("/devices/unit-a"))
    assert "swap yes providers CPU memory 8 GB" in text
    assert "board" not in text
    assert "None" not in text


def test_the_two_errors_of_a_model_are_told_apart(client, catalogue, filled):
    text = check(client.get("/models/ccpp"))
    assert "RMSE on held-out rows" in text
    assert "may well be higher" in text
    assert "on the newest labelled rows" not in text
    job = catalogue.jobs.list(kind="retrain", state="running")[0]
    result = {
        "release": None,
        "metric": "rmse",
        "champion": 7.25,
        "challenger": 7.2,
        "holdout_rows": 270,
        "reason": "no",
    }
    catalogue.jobs.finish(job.id, result)
    assert f"RMSE on the newest labelled rows 7.25 270 rows, measured by job {job.id}" in check(
        client.get("/models/ccpp")
    )


def test_refreshing_is_a_choice(client):
    assert 'http-equiv="refresh"' not in client.get("/").text
    assert '<meta http-equiv="refresh" content="5">' in client.get("/?every=5").text
    assert 'http-equiv="refresh"' not in client.get("/?every=5;url=https://example.org").text


def test_nothing_from_elsewhere_may_load_or_run(client):
    policy = client.get("/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "script-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


def test_a_device_that_has_not_taken_up_its_assignment_says_so(client, home, catalogue, clock, published, enrol):
    enrol("press-1")
    stream = StreamBinding("main", "ccpp", "line/sensors", "line/predictions")
    assign(home, catalogue, Assignment("press-1", 0, (AssignedRelease("ccpp", 1),), (stream,)), clock)
    assert "will take up the change when it is back" in check(client.get("/devices/press-1"))


def test_a_retrained_model_tells_its_story(client, home, catalogue, clock, tmp_path):
    write_history(home, catalogue, clock, tmp_path / "workshop", retrained=True)
    text = check(client.get("/models/ccpp"))
    assert "Under the same conditions ccpp@1 had drifted; ccpp@2 has learned from them" in text
    assert ">ccpp@2</text>" in client.get("/models/ccpp").text
    assert "✗ refused ccpp@2" in check(client.get("/"))
    assert "It refused ccpp@2." in check(client.get("/devices/unit-c"))
    check(client.get("/devices/unit-a"))
    check(client.get("/models/ccpp/releases/2"))
