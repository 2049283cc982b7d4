"""What several pages show of models and devices."""

from typing import Literal

import msgspec

from protocols.assignment import Assignment
from protocols.manifest import Importance
from registry.catalogue import Catalogue
from registry.catalogue.devices import Device
from registry.catalogue.models import Model
from registry.catalogue.releases import Release
from registry.monitoring.reports import DriftReport
from registry.presence import Presence, presence

Health = Literal["good", "bad", "unknown"]


class ModelRow(msgspec.Struct, frozen=True):
    """One model at a glance. `devices` should run it; `report` is the champion's newest."""

    model: Model
    champion: Release | None
    devices: tuple[str, ...]
    report: DriftReport | None

    @property
    def moved(self) -> list[str]:
        """The inputs that have drifted, furthest first."""
        features = [feature for feature in self.report.features if feature.drifted] if self.report else []
        return [feature.feature for feature in sorted(features, key=lambda one: -(one.psi or 0.0))]


class DeviceRow(msgspec.Struct, frozen=True):
    """One device at a glance, at the time `now`."""

    device: Device
    assignment: Assignment | None
    now: float

    @property
    def presence(self) -> Presence:
        return presence(self.device, self.assignment, self.now)

    @property
    def online(self) -> bool:
        return self.presence == "online"

    @property
    def pending(self) -> bool:
        """Whether the device has yet to take up its newest assignment."""
        taken = self.device.status.revision if self.device.status else 0
        return self.assignment is not None and self.assignment.revision != taken

    @property
    def refused(self) -> list[str]:
        """The releases that the device should run and has refused."""
        held = self.device.status.releases if self.device.status else ()
        wanted = {(one.model, one.version) for one in self.assignment.releases} if self.assignment else set()
        return [
            f"{one.model}@{one.version}"
            for one in held
            if one.state in ("refused", "rolled-back") and (one.model, one.version) in wanted
        ]


class Bar(msgspec.Struct, frozen=True):
    """One input's importance; `length` is 0 to 100, of the most important."""

    feature: str
    value: float
    length: float
    direction: str
    error: float | None = None


def model_row(catalogue: Catalogue, model: Model) -> ModelRow:
    champion = catalogue.models.champion(model.name)
    reports = catalogue.drift.list(model.name, 50)
    return ModelRow(
        model,
        catalogue.releases.get(champion) if champion else None,
        tuple(assignment.device for assignment in catalogue.assignments.running(model.name)),
        next((report for report in reports if champion and report.version == champion.version), None),
    )


def device_rows(catalogue: Catalogue, now: float) -> list[DeviceRow]:
    assigned = {assignment.device: assignment for assignment in catalogue.assignments.list()}
    return [DeviceRow(device, assigned.get(device.name), now) for device in catalogue.devices.list()]


def bars(importance: tuple[Importance, ...], limit: int = 12) -> list[Bar]:
    """Return the most important inputs, most important first."""
    ranked = sorted(importance, key=lambda one: -one.value)[:limit]
    most = ranked[0].value if ranked and ranked[0].value > 0 else 1.0
    return [
        Bar(
            one.feature,
            one.value,
            round(100 * one.value / most, 1),
            one.direction,
            one.error if isinstance(one.error, float) else None,
        )
        for one in ranked
    ]
