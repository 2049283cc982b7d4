"""Devices: what is enrolled, and what each says of itself."""

from flask import Blueprint

from registry.mosquitto.keeper import BrokerKeeper
from registry.revocation import Revoked, revoke
from registry.web.context import caller, context
from registry.web.documents import DeviceDocument, device_document
from registry.web.operations import operation

devices = Blueprint("devices", __name__, url_prefix="/api/v1/devices")


@devices.get("")
@operation("List the devices", "devices", reply=list[DeviceDocument])
def list_devices() -> list[DeviceDocument]:
    catalogue, now = context().catalogue, context().clock()
    assigned = {assignment.device: assignment for assignment in catalogue.assignments.list()}
    ends = catalogue.certificates.ends()
    return [
        device_document(device, assigned.get(device.name), now, ends.get(device.serial))
        for device in catalogue.devices.list()
    ]


@devices.get("/<device>")
@operation("Describe one device", "devices", reply=DeviceDocument, errors=(404,))
def get_device(device: str) -> DeviceDocument:
    catalogue = context().catalogue
    found = catalogue.devices.get(device)
    ends = catalogue.certificates.ends(found.serial)
    return device_document(found, catalogue.assignments.get(device), context().clock(), ends.get(found.serial))


@devices.post("/<device>/revoke")
@operation("Lock a device out; enrolling it anew is the way back", "devices", reply=Revoked, errors=(404,))
def revoke_device(device: str) -> Revoked:
    parts = context()
    done = revoke(parts.home, parts.catalogue, device, parts.clock, revoked_by=caller())
    BrokerKeeper(parts.home, parts.catalogue, parts.clock).keep()
    return done
