"""`genba publish` and `genba assign` against a registry that really serves."""

import json
import shlex
import socket

import pytest
from simulators.candidates import named_graph

import genba
from registry.catalogue import Catalogue
from registry.client.cli import assign
from registry.client.release_folder import fetch_release
from registry.client.rest import RegistryClient


def test_publish_prints_the_release(command, make_candidate):
    status, out, err = command("publish", make_candidate(model="prints"))
    assert (status, out) == (0, "prints@1\n")
    assert "/models/prints/releases/1" in err
    assert "uploading" not in err, "no progress where no terminal watches"


def test_python_publishes_too(make_candidate, url, token, monkeypatch):
    monkeypatch.setenv("GENBA_TOKEN", token)
    assert genba.publish(make_candidate(model="python"), url) == "python@1"
    monkeypatch.setenv("GENBA_REGISTRY", url)
    monkeypatch.delenv("GENBA_TOKEN")
    assert genba.publish(str(make_candidate(model="python")), token=token) == "python@2"
    with pytest.raises(genba.GenbaError, match="token"):
        genba.publish(make_candidate(model="python"))


def test_a_large_candidate_is_streamed_whole(command, make_candidate, home):
    graph = bytes(range(256)) * 20_000
    assert command("publish", make_candidate(model="large", named=graph))[1] == "large@1\n"
    release = Catalogue.open(home).releases.latest("large")
    assert release.manifest.files["model.onnx"].size_bytes == len(named_graph(graph))


def test_a_variant_is_published_and_can_be_had_again(command, make_candidate, home, url, token, tmp_path):
    assert command("publish", make_candidate(model="small", int8=named_graph(b"int8")))[1] == "small@1\n"
    release = Catalogue.open(home).releases.latest("small")
    assert "model.int8.onnx" in release.files
    fetch_release(RegistryClient(url, token), release.ref, tmp_path / "fetched")
    assert (tmp_path / "fetched" / "model.int8.onnx").read_bytes() == named_graph(b"int8")


def test_assign_binds_streams_by_selector(command, make_candidate, devices):
    command("publish", make_candidate(model="bound"))
    status, out, _ = command(
        *("assign", "bound@1", "site=osaka", "--topic", "{site}/{device}/in", "--output-topic", "{device}/out"),
        *("--input", "AT=$.ambient.temp", "--key", "id"),
    )
    assert status == 0
    assert [line.split(" (")[0] for line in out.splitlines()] == ["press-1: bound@1", "press-2: bound@1"]
    stream = next(one for one in devices.assignments.get("press-2").streams if one.model == "bound")
    assert (stream.topic, stream.output_topic, stream.key) == ("osaka/press-2/in", "press-2/out", "id")
    assert stream.inputs == {"AT": "$.ambient.temp"}


def test_assign_swaps_and_keeps_streams_and_other_models(command, make_candidate, devices):
    for model in ("kept", "moved"):
        command("publish", make_candidate(model=model))
        topics = ("--topic", f"{model}/in", "--output-topic", f"{model}/out", "--stream", model)
        assert command("assign", f"{model}@1", "oven-1", *topics)[0] == 0
    command("publish", make_candidate(model="moved", named=b"better"))
    assert command("assign", "moved@latest", "oven-1")[0] == 0
    assignment = devices.assignments.get("oven-1")
    assert {str(release.ref) for release in assignment.releases} >= {"kept@1", "moved@2"}
    assert {stream.name for stream in assignment.streams} >= {"kept", "moved"}
    assert command("assign", "moved@champion", "oven-1")[1].startswith("oven-1: moved@2")


def test_assign_takes_a_whole_assignment_from_a_file(command, make_candidate, devices, tmp_path):
    command("publish", make_candidate(model="filed"))
    stream = {"name": "s", "model": "filed", "topic": "a", "output_topic": "b", "max_batch": 7}
    path = tmp_path / "assignment.json"
    path.write_text(json.dumps({"streams": [stream], "window_s": 5}))
    assert command("assign", "filed@1", "press-1", "--assignment", path)[0] == 0
    assert devices.assignments.get("press-1").window_s == 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("assign", "nothing@1", "oven-1"), "release nothing@1 is not known; nothing is published"),
        (("assign", "nothing", "oven-1"), "'nothing' names no release; write MODEL@VERSION"),
        (
            ("assign", "x@1", "ghost", "--topic", "a", "--output-topic", "b"),
            "device 'ghost' is not known; known devices",
        ),
        (("assign", "x@1", "oven-1", "--topic", "a"), "--output-topic is missing"),
        (("assign", "x@1", "oven-1", "--key", "id"), "--key needs --topic and --output-topic too"),
        (("assign", "x@1", "oven-1", "--input", "AT=$.t"), "--input needs --topic"),
        (("assign", "x@1", "oven-1", "--allow-fallback"), "--allow-fallback needs --topic"),
        (("assign", "x@1", "oven-1", "--queue-limit", "5"), "--queue-limit needs --topic"),
        (("assign", "x@1", "oven-1", "--assignment", "f.json", "--max-batch", "5"), "--max-batch is not taken beside"),
        (("assign", "x@1", "oven-1", "--assignment", "f.json", "--topic", "a"), "--topic is not taken beside --assig"),
        (("assign", "x@1", "oven-1", "--latency-budget", "5"), "--latency-budget needs --topic"),
        (("publish", "/nowhere"), "/nowhere: release.json: No such file"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(command, devices, arguments, says):
    status, out, err = command(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("genba: ")
    assert err.count("\n") == 1
    assert says in err


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--queue-limit", "0", "'0' is not a number of messages from 1 to 1000000"),
        ("--queue-limit", "99999999999", "'99999999999' is not a number of messages from 1"),
        ("--max-batch", "0", "'0' is not a number of messages"),
        ("--max-batch", "-1", "'-1' is not a number of messages"),
        ("--latency-budget", "0", "'0' is not a number of milliseconds above 0 and at most 86400000"),
        ("--latency-budget", "nan", "'nan' is not a number of milliseconds"),
        ("--latency-budget", "inf", "'inf' is not a number of milliseconds"),
        ("--latency-budget", "1e12", "'1e12' is not a number of milliseconds"),
    ],
)
@pytest.mark.parametrize("topics", [(), ("--topic", "a", "--output-topic", "b")])
def test_a_limit_that_no_stream_can_have_is_wrong_usage(capsys, option, value, says, topics):
    with pytest.raises(SystemExit) as ended:
        assign(["x@1", "oven-1", *topics, option, value])
    assert ended.value.code == 2
    assert f"argument {option}: {says}" in capsys.readouterr().err


def test_an_unknown_device_is_told_with_the_known_ones(command, make_candidate, devices):
    command("publish", make_candidate(model="lonely"))
    _, _, err = command("assign", "lonely@1", "ghost")
    assert err == "genba: device 'ghost' is not known; known devices: oven-1, press-1, press-2\n"


@pytest.mark.parametrize("topics", [(), ("--topic", "a", "--output-topic", "b")])
def test_a_selector_that_matches_none_says_so(command, make_candidate, devices, topics):
    command("publish", make_candidate(model="nowhere"))
    status, _, err = command("assign", "nowhere@1", "site=kyoto", *topics)
    assert status == 1
    assert err.startswith("genba: the selector 'site=kyoto' matches no device; enrolled are oven-1 (site=nagoya, prof")


def test_a_first_assignment_without_topics_shows_the_command_that_works(command, make_candidate, devices):
    command("publish", make_candidate(model="first"))
    status, _, err = command("assign", "first@1", "site=osaka")
    assert status == 1
    assert "no device of 'site=osaka' runs a stream of model 'first' yet; say where its sensors are" in err
    shown = shlex.split(err.partition("`genba ")[2].partition("`")[0])
    assert shown[-2:] == ["--input", "AT=$['AT']"]
    assert command(*shown)[0] == 0
    assert devices.assignments.get("press-1").streams[-1].topic == "plant/press-1/sensors"


def test_an_edited_candidate_is_refused_by_the_registry(command, make_candidate):
    folder = make_candidate(model="edited")
    (folder / "golden.npz").write_bytes(b"other")
    status, _, err = command("publish", folder)
    assert status == 1
    assert "golden.npz is not the file that release.json describes" in err


def test_a_bad_token_is_one_clear_line(command, make_candidate):
    status, _, err = command("publish", make_candidate(model="prints"), "--token", "wrong")
    assert status == 1
    assert "the API token is wrong" in err
    assert err.count("\n") == 1


def test_no_token_is_one_clear_line(command, make_candidate, monkeypatch):
    monkeypatch.delenv("GENBA_TOKEN")
    status, _, err = command("publish", make_candidate(model="prints"))
    assert status == 1
    assert "GENBA_TOKEN" in err


def test_a_registry_that_does_not_answer_is_one_clear_line(command, make_candidate):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    status, _, err = command("publish", make_candidate(model="prints"), "--registry", f"http://127.0.0.1:{port}")
    assert status == 1
    assert "it does not answer (connection refused)" in err


@pytest.mark.parametrize(
    ("address", "says"),
    [("ftp://x", "not an address"), ("http://registry.example", "unencrypted"), ("http://[", "not an address")],
)
def test_an_address_that_will_not_do_is_one_clear_line(command, make_candidate, address, says):
    status, _, err = command("publish", make_candidate(model="prints"), "--registry", address)
    assert status == 1
    assert says in err
