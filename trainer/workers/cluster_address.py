"""Where a Dask scheduler is, and whether it may be reached in the clear."""

import ipaddress
import json
from pathlib import Path
from urllib.parse import urlsplit

from trainer.errors import RequestError

#: What Dask encrypts and authenticates, as its own configuration says (`distributed.comm.tls`).
ENCRYPTED = ("tls", "wss")


def read_address(text: str) -> str:
    """Return the address of a scheduler, `tls://host:8786`, from an address or the path of a scheduler file.

    Raises:
        RequestError: neither an address nor such a file.
    """
    if "://" in text:
        return text
    path = Path(text)
    if path.is_file():
        try:
            return str(json.loads(path.read_text())["address"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise RequestError(
                f"--dask {text!r} is no scheduler file (one that `dask scheduler --scheduler-file` wrote): {error}"
            ) from error
    if urlsplit(f"tcp://{text}").hostname and ":" in text and "/" not in text:
        return f"tcp://{text}"
    raise RequestError(f"--dask {text!r} is neither an address such as tls://10.0.0.5:8786 nor a scheduler file")


def check_encrypted(address: str, *, insecure: bool) -> None:
    """Return if calls, which are pickles, may travel to this address.

    Raises:
        RequestError: it is in the clear, beyond this machine, and nobody asked for that.
    """
    parts = urlsplit(address)
    if parts.scheme in (*ENCRYPTED, "inproc") or insecure or _is_loopback(parts.hostname or ""):
        return
    raise RequestError(
        f"--dask {address} is not encrypted, and whoever reaches that scheduler can run code on its workers and here: "
        f"give a tls:// address (Dask's own settings distributed.comm.tls name the certificates), or --dask-insecure"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
