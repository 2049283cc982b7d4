"""HOME/stick: the bundle that waits to be installed. Each is another folder, told apart by its inode."""

import shutil
import tempfile
from pathlib import Path

from edge_agent.disk import sync_folder
from edge_agent.settings import AgentHome

#: Folders beside HOME/stick: what is being copied, and what is being deleted.
ARRIVING, _LEFT = ".stick-arriving-", ".stick-left-"


def stick_of(home: AgentHome) -> int:
    """Return which bundle waits, or 0."""
    try:
        return home.stick.stat().st_ino
    except OSError:
        return 0


def leave_stick(home: AgentHome, stick: int) -> None:
    """Delete a bundle, unless another has taken its place."""
    if stick_of(home) != stick:
        return
    home.stick.rename(Path(tempfile.mkdtemp(dir=home.folder, prefix=_LEFT)) / "stick")
    sync_folder(home.folder)
    clear_bundles(home)


def clear_bundles(home: AgentHome, prefix: str = _LEFT) -> None:
    """Delete what a power cut has left of bundles that were on their way in (`ARRIVING`) or out."""
    for stale in home.folder.glob(f"{prefix}*"):
        shutil.rmtree(stale, ignore_errors=True)


def replace_stick(home: AgentHome, staged: Path) -> None:
    """Put a whole bundle in its place by a rename; one that was not installed yet gives way."""
    if stick := stick_of(home):
        leave_stick(home, stick)
    staged.rename(home.stick)
    sync_folder(home.folder)
