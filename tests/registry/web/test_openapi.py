"""The OpenAPI document describes every route, and nothing else."""

import json

import pytest

from registry.web.openapi import UndescribedRouteError, api_routes, document


@pytest.fixture
def described(client):
    return client.get("/openapi.json").json


def test_every_route_is_described_and_every_description_has_its_route(app, described):
    routed = {
        (method.lower(), rule.rule.replace("<int:", "{").replace("<path:", "{").replace("<", "{").replace(">", "}"))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/") or rule.rule in ("/healthz", "/openapi.json")
    }
    assert {(method, path) for path, methods in described["paths"].items() for method in methods} == routed


def test_a_route_without_description_is_a_fault(app):
    app.add_url_rule("/api/v1/secret", "secret", lambda: "")
    with pytest.raises(UndescribedRouteError, match="/api/v1/secret"):
        api_routes(app)


def test_every_reference_leads_somewhere(described):
    text = json.dumps(described)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part.split('"')[0] in described["components"]["schemas"]


def test_every_operation_has_summary_tag_name_and_problem(described):
    names = []
    for methods in described["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert operation["tags"]
            assert "application/problem+json" in operation["responses"]["401"]["content"]
            names.append(operation["operationId"])
    assert len(set(names)) == len(names)


def test_every_change_asks_for_the_token_but_enrolment(described):
    free = {
        (method, path)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if method != "get" and operation["security"] != [{"token": []}]
    }
    assert free == {("post", "/api/v1/enrol"), ("post", "/api/v1/devices/{device}/renewal")}


def test_replies_match_their_schemas(app, api, client, filled):
    jsonschema = pytest.importorskip("jsonschema")
    described = document(app, "test")
    for path in (
        "/models",
        "/models/ccpp",
        "/models/ccpp/releases/1",
        "/devices/unit-a",
        "/devices/unit-a/telemetry",
        "/devices/unit-a/assignment",
        "/models/ccpp/drift-reports",
        "/jobs",
        "/events",
        "/models/ccpp/policy",
    ):
        pattern = path.replace("ccpp", "{model}").replace("unit-a", "{device}").replace("/1", "/{version}")
        reply = described["paths"][f"/api/v1{pattern}"]["get"]["responses"]["200"]
        schema = {**reply["content"]["application/json"]["schema"], "components": described["components"]}
        jsonschema.validate(api("GET", path).json, schema)
