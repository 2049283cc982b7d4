"""Whether two interpreters have the same libraries, without which a model that crosses over may come to be another."""

import sys

from trainer.lineage import code_version, pins


def versions() -> dict[str, str]:
    """Return what must be the same on both sides: Python, Genba, and the libraries that decide a model's bits."""
    return {"Python": f"{sys.version_info.major}.{sys.version_info.minor}", "genba": code_version(), **pins()}


def differences(here: dict[str, str], there: dict[str, str]) -> str:
    """Return in words what is different there, "" if nothing is."""
    told = [
        f"{name} {there.get(name, 'missing')} instead of {here.get(name, 'none')}"
        for name in sorted({*here, *there})
        if here.get(name) != there.get(name)
    ]
    return ", ".join(told)
