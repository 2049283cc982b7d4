"""Mosquitto's files as text: the listener, the access list. Source: mosquitto.conf(5), of 2.0.11 and newer."""

from collections.abc import Iterable

from registry.mosquitto.access import Access
from registry.mosquitto.place import BrokerPlace

CONFIG, ACCESS, PLANT_ACCESS = "mosquitto.conf", "access.acl", "plant.acl"
AUTHORITY, REVOCATIONS = "ca.crt", "revoked.crl"
CERTIFICATE, KEY, PROCESS = "broker.crt", "broker.key", "mosquitto.pid"

_CONFIG = """\
# Written by `genba registry broker-config mosquitto`; run it again to change it. Start: mosquitto -c {folder}/{config}
per_listener_settings false
allow_anonymous false
user {user}
pid_file {folder}/{process}

# Who may do what. The registry writes this file anew as devices come, change and go.
acl_file {folder}/{access}

# Devices that are away find their messages when they are back. A restart needs `persistence true` for that.
max_queued_messages 10000
max_inflight_messages 100
# An image of 8 MiB as base64, the largest message that an agent takes.
max_packet_size 12582912
# Each message at once: without it a prediction that comes alone waits up to 40 ms for the kernel (Nagle's algorithm).
set_tcp_nodelay true
persistent_client_expiration 90d

# The one way in: TLS with a certificate of the registry's authority on either side.
listener {port}{bind}
tls_version {tls_version}
cafile {folder}/{authority}
certfile {folder}/{certificate}
keyfile {folder}/{key}
crlfile {folder}/{revocations}
require_certificate true
# A client is who its certificate says, whatever it calls itself: nobody can take over another's session.
use_identity_as_username true
use_username_as_clientid true
"""

PLANT_TEMPLATE = """\
# What systems of the plant (historian, MES, gateways) may do at this broker. `genba registry certificate NAME` makes
# their certificates. The registry puts this file behind its own list, and never changes it. An example:
#
# user historian
# topic read plant/#
#
# user press-gateway
# topic write plant/press-7/sensors
# topic read plant/press-7/predictions
"""


def config_text(place: BrokerPlace) -> str:
    """Return mosquitto.conf: one TLS listener, and no other way in."""
    return _CONFIG.format(
        folder=place.folder,
        config=CONFIG,
        user=place.user,
        process=PROCESS,
        access=ACCESS,
        port=place.port,
        bind=f" {place.bind}" if place.bind else "",
        # The lowest version: mosquitto speaks this one and every newer.
        tls_version="tlsv1.2",
        authority=AUTHORITY,
        certificate=CERTIFICATE,
        key=KEY,
        revocations=REVOCATIONS,
    )


def access_text(accesses: Iterable[Access], plant: str) -> str:
    """Return the access list: one block a client; who is not in it may do nothing."""
    blocks = [
        "\n".join(
            [
                f"user {access.user}",
                *(f"topic read {topic}" for topic in access.reads),
                *(f"topic write {topic}" for topic in access.writes),
            ]
        )
        for access in accesses
    ]
    head = "# Written by the registry, and written anew whenever a device comes, changes or goes. Do not edit."
    return "\n\n".join([head, *blocks, f"# From {PLANT_ACCESS}:", plant])
