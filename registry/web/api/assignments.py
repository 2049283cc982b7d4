"""Assignments: what each device should run."""

from flask import Blueprint

from protocols.assignment import Assignment
from protocols.names import ReleaseRef
from registry.assigning import assign, swap
from registry.errors import AssignmentRefusedError
from registry.web.context import caller, context
from registry.web.documents import AssignmentBody, SwapBody
from registry.web.operations import operation

assignments = Blueprint("assignments", __name__, url_prefix="/api/v1")


@assignments.get("/devices/<device>/assignment")
@operation("What a device should run", "assignments", reply=Assignment, errors=(404,))
def get_assignment(device: str) -> Assignment:
    """Revision 0 and nothing to run, before the first assignment."""
    catalogue = context().catalogue
    catalogue.devices.get(device)
    return catalogue.assignments.get(device) or Assignment(device, 0)


@assignments.put("/devices/<device>/assignment")
@operation("Say what a device should run", "assignments", body=AssignmentBody, reply=Assignment, errors=(404, 422))
def put_assignment(device: str, body: AssignmentBody) -> Assignment:
    """It is checked, numbered and signed; the device hears of it at once if it is online."""
    parts = context()
    wanted = Assignment(device, 0, body.releases, body.streams, body.window_s, body.confirm_s)
    return assign(parts.home, parts.catalogue, wanted, parts.clock, assigned_by=caller())


@assignments.post("/assignments")
@operation("Give several devices a release", "assignments", body=SwapBody, reply=list[Assignment], errors=(404, 422))
def post_assignments(body: SwapBody) -> list[Assignment]:
    """The release takes the place of the same model's release on each device; streams stay as they are.

    A device that has refused this release tries it once more.
    """
    parts = context()
    if not body.devices:
        raise AssignmentRefusedError("devices: it is empty; name devices, or write '*', site=SITE or profile=PROFILE")
    ref = ReleaseRef.parse(body.release)
    return swap(parts.home, parts.catalogue, ref, body.devices, parts.clock, assigned_by=caller())
