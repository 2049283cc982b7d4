"""Which Genba this is."""

from importlib.metadata import PackageNotFoundError, version


def genba_version() -> str:
    """Return this installation's version; a source tree that is not installed has none."""
    try:
        return version("genba")
    except PackageNotFoundError:
        return "0+source"
