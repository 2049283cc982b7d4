"""The generated documents: committed as generated, whole, and true of real messages."""

import json
import re
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import asyncapi, messages
from protocols.topics import DOWN_CHANNELS, UP_CHANNELS, DeviceTopics

DOCUMENT = asyncapi.asyncapi_document()
SCHEMAS = asyncapi.json_schemas()


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for inner in value.values() for found in references(inner)]
    return [found for inner in value for found in references(inner)] if isinstance(value, list) else []


def test_what_is_committed_is_what_is_generated(root):
    folder = root / "docs" / "protocol"
    committed = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    generated = asyncapi.generated_files()
    assert committed.keys() == generated.keys(), "run `make docs`, and delete what it no longer writes"
    stale = [name for name in generated if committed[name] != generated[name]]
    assert not stale, "run `make docs`"


def test_every_reference_leads_somewhere():
    found = references(DOCUMENT)
    assert found
    for reference in found:
        node = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_topic_is_a_channel_at_its_address():
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    topics = DeviceTopics("s", "d")
    expected = {topics.up(name) for name in UP_CHANNELS} | {topics.down(name) for name in DOWN_CHANNELS}
    assert {re.sub(r"\{(.).*?\}", r"\1", address) for address in addresses} == expected
    for channel in DOCUMENT["channels"].values():
        assert re.findall(r"\{(.*?)\}", channel["address"]) == list(channel["parameters"])


def test_every_channel_has_one_operation_seen_from_the_device():
    operations = DOCUMENT["operations"]
    assert operations.keys() == DOCUMENT["channels"].keys()
    assert {name: operation["action"] for name, operation in operations.items()} == {
        name: "send" if name.startswith("up") else "receive" for name in operations
    }
    retained = {name for name, operation in operations.items() if operation["bindings"]["mqtt"]["retain"]}
    assert retained == {"upStatus", "downAssignment", "downMeasuring"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_one(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    assert set(references(SCHEMAS[name])) <= {f"#/$defs/{inner}" for inner in SCHEMAS[name]["$defs"]}


@given(st.data())
@pytest.mark.parametrize("name", SCHEMAS)
def test_every_value_of_the_type_is_valid_by_its_schema(name, structs, data):
    kind = next(k for k in (*asyncapi._CHANNELS.values(), *asyncapi._DOCUMENTS) if k.__name__ == name)
    page = json.loads(msgspec.json.encode(data.draw(structs(kind))))
    jsonschema.validate(page, SCHEMAS[name], cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("Ack", {"ids": "1"}),
        ("Ack", {}),
        ("Status", {"at": 1.0, "online": "yes"}),
        ("Event", {"id": 1, "at": 1.0, "kind": "k", "level": "fatal", "text": ""}),
        ("Assignment", {"device": "d", "revision": 1, "streams": [{"name": "s"}]}),
    ],
)
def test_a_wrong_value_is_invalid_by_its_schema(name, page):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(page, SCHEMAS[name], cls=jsonschema.Draft202012Validator)


def test_a_field_of_tomorrow_is_valid_today():
    jsonschema.validate({"ids": [1], "why": "new"}, SCHEMAS["Ack"], cls=jsonschema.Draft202012Validator)


def test_every_struct_on_the_wire_is_described():
    structs = {
        kind.__name__
        for kind in vars(messages).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and not kind.__name__.startswith("_")
    }
    assert structs <= DOCUMENT["components"]["schemas"].keys()
