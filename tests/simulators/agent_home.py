"""An agent's home as enrolment would have written it."""

from pathlib import Path
from typing import Any

from simulators.registry_side import SignedReleases

from edge_agent.settings import AgentHome


def make_home(folder: Path, signed: SignedReleases, broker_url: str, **settings: Any) -> AgentHome:
    """Write what enrolment writes (no TLS on loopback, so no certificate); nothing is tuned, which takes seconds."""
    home = AgentHome(folder)
    home.image_root.parent.mkdir(parents=True)
    home.image_root.write_bytes(signed.image.root)
    home.director_root.write_bytes(signed.director.root)
    named = {"device": "press-1", "site": "osaka", "profile": "x86", "broker_url": broker_url, "tune_s": 0}
    home.write_settings({**named, **settings})
    return home
