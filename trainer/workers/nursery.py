"""The caller's hold on its nursery: one process that loads the heavy modules once, and forks workers from then on."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import msgspec

from trainer.workers.letters import LONGEST, News, Order, Ready, news

#: What trials need and take a second to import.
PRELOADED = (
    "numpy",
    "pandas",
    "scipy.linalg",
    "scipy.optimize",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.neural_network",
    "sklearn.preprocessing",
    "catboost",
    "lightgbm",
    "xgboost",
    "trainer.families",
)
#: Seconds that the nursery is given to kill its workers and go, before it is killed itself.
GRACE_S = 0.4
_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from trainer.workers.nursery_process import main; main(int(sys.argv[2]), json.loads(sys.argv[3]))"
)
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Nursery:
    """A process that forks workers; it ends, and they with it, when this object is closed or its process ends.

    Making one returns at once, while the modules load. Not thread-safe: whoever makes workers from it owns it.

    Args:
        modules: imported before the first fork; one that is not installed is passed over.
    """

    def __init__(self, modules: Sequence[str] = PRELOADED) -> None:
        self.modules = tuple(modules)
        self.folder = tempfile.mkdtemp(prefix="genba-workers-")
        self._loaded = False
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        told = dict.fromkeys(_ONE_THREAD, "1") | {"TMPDIR": self.folder, "JOBLIB_TEMP_FOLDER": self.folder}
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *flags,
                    "-c",
                    _COMMAND,
                    json.dumps(sys.path),
                    str(theirs.fileno()),
                    json.dumps(modules),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={**os.environ, **told},
            )

    def fileno(self) -> int:
        """The descriptor that is readable when `read` has something to tell."""
        return self._socket.fileno()

    def tell(self, order: Order, descriptor: int | None = None) -> bool:
        """Send an order; False where the nursery is no more."""
        packet = msgspec.msgpack.encode(order)
        try:
            if descriptor is None:
                self._socket.send(packet)
            else:
                socket.send_fds(self._socket, [packet], [descriptor])
        except OSError:
            return False
        return True

    def read(self) -> News | None:
        """Wait for news; None where the nursery is no more."""
        try:
            packet = self._socket.recv(LONGEST)
        except ConnectionError:
            packet = b""
        if not packet:
            return None
        told = news.decode(packet)
        self._loaded = self._loaded or isinstance(told, Ready)
        return told

    def close(self) -> None:
        """Kill every worker and the nursery; at most half a second."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        try:
            # One that is still loading has no worker, and looks at its socket only afterwards.
            self._process.wait(GRACE_S if self._loaded else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def warm_up(modules: Sequence[str] = PRELOADED) -> Nursery:
    """Begin to load what workers need, beside whatever the caller does next; give the result to `LocalWorkers`."""
    return Nursery(modules)
