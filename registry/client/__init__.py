"""What the `genba` command does against a registry: REST calls that the OpenAPI document describes.

Needs nothing beyond Genba's base dependencies, so that it runs on a device and on an engineer's laptop alike.
"""

from registry.client.measuring import measure, measuring_on
from registry.client.rest import RegistryClient

__all__ = ["RegistryClient", "measure", "measuring_on"]
