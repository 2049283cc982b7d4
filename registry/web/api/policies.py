"""Policies: what makes a model retrain."""

from flask import Blueprint, request

from registry.errors import RequestRefusedError
from registry.monitoring.policy import Policy
from registry.web.context import caller, context
from registry.web.operations import operation

policies = Blueprint("policies", __name__, url_prefix="/api/v1/models/<model>/policy")


@policies.get("")
@operation("What makes a model retrain", "policies", reply=Policy)
def get_policy(model: str) -> Policy:
    """The default, where none was set."""
    return context().catalogue.policies.get(model)


@policies.put("")
@operation("Say what makes a model retrain", "policies", body=Policy, reply=Policy, errors=(404,))
def put_policy(model: str, body: Policy) -> Policy:
    """What is left out has its default."""
    given = request.get_json()
    for name in given:
        if name not in Policy.__struct_fields__:
            raise RequestRefusedError(name, f"is not a field of a policy; it has {', '.join(Policy.__struct_fields__)}")
    catalogue = context().catalogue
    with catalogue.transaction():
        catalogue.models.get(model)
        catalogue.policies.set(model, body)
        catalogue.events.record(
            "policy-changed",
            f"the policy of {model} was changed",
            model=model,
            detail={"by": caller(), **given},
        )
    return body
