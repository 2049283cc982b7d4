"""Trust: who may sign what, what waits for signatures, and what will soon be too late."""

from flask import Blueprint

from registry.signing.ceremony import TrustState, trust_state
from registry.web.context import context
from registry.web.operations import operation

trust = Blueprint("trust", __name__, url_prefix="/api/v1/trust")


@trust.get("")
@operation("The signing keys and what waits for them", "trust", reply=TrustState)
def get_trust() -> TrustState:
    """Keys are changed and signatures given on the command line alone: `genba registry keys`."""
    return trust_state(context().home, context().clock)
