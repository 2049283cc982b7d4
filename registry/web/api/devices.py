"""Devices: what is enrolled, and what each says of itself."""

from flask import Blueprint

from registry.web.context import context
from registry.web.documents import DeviceDocument, device_document
from registry.web.operations import operation

devices = Blueprint("devices", __name__, url_prefix="/api/v1/devices")


@devices.get("")
@operation("List the devices", "devices", reply=list[DeviceDocument])
def list_devices() -> list[DeviceDocument]:
    catalogue, now = context().catalogue, context().clock()
    assigned = {assignment.device: assignment for assignment in catalogue.assignments.list()}
    return [device_document(device, assigned.get(device.name), now) for device in catalogue.devices.list()]


@devices.get("/<device>")
@operation("Describe one device", "devices", reply=DeviceDocument, errors=(404,))
def get_device(device: str) -> DeviceDocument:
    catalogue = context().catalogue
    found = catalogue.devices.get(device)
    return device_document(found, catalogue.assignments.get(device), context().clock())
