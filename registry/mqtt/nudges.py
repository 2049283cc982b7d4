"""Nudges: a device hears at once that its assignment, or what it is to measure, has changed.

It then fetches what the director has signed.
"""

from collections.abc import Callable

from protocols.messages import AssignmentChanged, MeasuringChanged, encode
from protocols.topics import DeviceTopics
from registry.catalogue import Catalogue

#: Publish (topic, payload, retain); False while there is no link.
Publish = Callable[[str, bytes, bool], bool]


class Nudges:
    """Publishes the revision of each changed assignment, and each newest measurement, retained. For one thread."""

    def __init__(self, catalogue: Catalogue, publish: Publish) -> None:
        self._catalogue = catalogue
        self._publish = publish
        self._told = self._measured = 0

    def forget(self) -> None:
        """Tell all again: the broker may have lost what it retained."""
        self._told = self._measured = 0

    def poll(self) -> None:
        """Publish what has changed since the last call."""
        for device, revision in self._catalogue.assignments.changed_since(self._told):
            topic = DeviceTopics(self._catalogue.devices.get(device).site, device).down("assignment")
            if not self._publish(topic, encode(AssignmentChanged(revision)), True):
                return
            self._told = revision
        for device, number in self._catalogue.measurements.changed_since(self._measured):
            topic = DeviceTopics(self._catalogue.devices.get(device).site, device).down("measuring")
            if not self._publish(topic, encode(MeasuringChanged(number)), True):
                return
            self._measured = number
