"""The OpenAPI document: made from the routes that are registered and the types that they speak."""

import re
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Flask
from werkzeug.routing import Rule

from registry.web.operations import JSON, Operation
from registry.web.problems import PROBLEM_JSON, Problem

_REF = "#/components/schemas/{name}"
#: Every operation may answer with these.
_ALWAYS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED)
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


class UndescribedRouteError(Exception):
    """A route of the API has no operation: it would be missing from the document."""


def api_routes(app: Flask) -> list[tuple[str, Rule, Operation]]:
    """Return (method, rule, operation) of every route that the document covers.

    Raises:
        UndescribedRouteError: a route under /api has no operation.
    """
    found = []
    for rule in app.url_map.iter_rules():
        described = getattr(app.view_functions[rule.endpoint], "operation", None)
        if described is None:
            if rule.rule.startswith("/api"):
                raise UndescribedRouteError(f"{rule.rule} has no @operation")
            continue
        found += [(method, rule, described) for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})]
    return sorted(found, key=lambda one: (one[1].rule, one[0]))


def document(app: Flask, version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of this application."""
    routes = api_routes(app)
    types = {kind for _, _, one in routes for kind in (one.reply, one.body) if kind is not None}
    ordered = [Problem, *sorted(types - {Problem}, key=str)]
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    schema_of = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for method, rule, one in routes:
        path = _PARAMETER.sub(r"{\1}", rule.rule)
        paths.setdefault(path, {})[method.lower()] = _operation(app, method, rule, one, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Genba registry",
            "version": version,
            "summary": "Models, releases, devices and what they run",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in sorted({one.tag for _, _, one in routes})],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "made by `genba registry init`"}
            },
        },
    }


def _operation(app: Flask, method: str, rule: Rule, one: Operation, schema_of: dict[Any, Any]) -> dict[str, Any]:
    view = app.view_functions[rule.endpoint]
    needs_token = method != "GET" if one.needs_token is None else one.needs_token
    entry: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_"),
        "summary": one.summary,
        "tags": [one.tag],
        "security": [{"token": []}] if needs_token else [{}, {"token": []}],
        "parameters": _parameters(rule, one),
        "responses": _responses(one, schema_of),
    }
    if view.__doc__:
        entry["description"] = "\n".join(line.strip() for line in view.__doc__.strip().splitlines())
    if one.body is not None:
        entry["requestBody"] = {
            "required": True,
            "content": {media: {"schema": schema_of[one.body]} for media in one.body_media},
        }
    elif one.body_media != (JSON,):
        content = {media: {"schema": {"type": "string", "format": "binary"}} for media in one.body_media}
        entry["requestBody"] = {"required": True, "content": content}
    return entry


def _parameters(rule: Rule, one: Operation) -> list[dict[str, Any]]:
    converters = rule._converters
    path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer" if "Integer" in type(converters[name]).__name__ else "string"},
        }
        for name in sorted(rule.arguments)
    ]
    names = {int: "integer", str: "string", float: "number"}
    query = [
        {"name": name, "in": "query", "description": text, "schema": {"type": names[kind]}}
        for name, (kind, text) in one.query.items()
    ]
    return [*path, *query]


def _responses(one: Operation, schema_of: dict[Any, Any]) -> dict[str, Any]:
    content = {}
    if one.reply is not None:
        content = {one.reply_media: {"schema": schema_of[one.reply]}}
    elif one.reply_media != JSON:
        content = {one.reply_media: {"schema": {"type": "string", "format": "binary"}}}
    success: dict[str, Any] = {"description": HTTPStatus(one.status).phrase}
    if content:
        success["content"] = content
    problem = {PROBLEM_JSON: {"schema": schema_of[Problem]}}
    return {
        str(one.status): success,
        **{
            str(int(status)): {"description": HTTPStatus(status).phrase, "content": problem}
            for status in sorted({*_ALWAYS, *one.errors})
        },
    }
