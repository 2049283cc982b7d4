"""Downloads over HTTP: the same resources, with ranges, resumed where they were cut off; each request is signed.

For links on which MQTT is not to carry releases. The device's key signs each request, so the registry gives a device
what is directed to it and nothing else; what arrives is verified as it is over MQTT.
"""

import contextlib
import http.client
import logging
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from edge_agent.errors import HomeError, ResourceFinalError, TransferError
from edge_agent.pacing import TARGET_S
from edge_agent.partial import Partial, PartialFolder
from edge_agent.request_signer import RequestSigner
from protocols.blocks import UNIT_BYTES
from protocols.names import ReleaseRef
from protocols.resources import release_of
from protocols.signed_request import DELIVERY_PATH

log = logging.getLogger(__name__)

FINAL = (404, 410)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CHUNK_BYTES = 16 * UNIT_BYTES
_RANGE = re.compile(r"bytes (?P<first>\d{1,15})-\d{1,15}/(?P<size>\d{1,15})")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """How downloads over HTTP behave.

    Attributes:
        timeout_s: longest that connecting, or the next bytes, may take.
        patience_s: pause before the next try; doubled each time, half of it random.
        progress_s: a try that stores nothing for so long is given up, however it drips.
        tries: tries in a row that brought nothing, after which the download fails, for now.
    """

    timeout_s: float = 20.0
    patience_s: float = 1.0
    longest_patience_s: float = 30.0
    progress_s: float = 60.0
    tries: int = 6


class RangeClient:
    """Fetches one resource at a time from the registry's web address.

    Args:
        ca: PEM file of the registry's authority, believed beside the system's.
        others_wait_s: what the line's messages wait on the link now; while they do, reading pauses.
    """

    def __init__(
        self,
        registry_url: str,
        signer: RequestSigner,
        folder: Path,
        limits: HttpLimits | None = None,
        *,
        ca: Path | None = None,
        jitter: Callable[[], float] = random.random,
        ticks: Callable[[], float] = time.monotonic,
        others_wait_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._address = urlsplit(registry_url)
        if self._address.scheme not in ("http", "https") or not self._address.hostname:
            raise HomeError(f"registry_url {registry_url!r} is not an address; write https://registry.example:8443")
        if self._address.scheme == "http" and self._address.hostname not in _LOOPBACK:
            raise HomeError(f"registry_url {registry_url!r} would go unencrypted over a network; use https://")
        self._signer, self.limits, self._ca = signer, limits or HttpLimits(), ca
        self._jitter, self._ticks, self._others_wait_s = jitter, ticks, others_wait_s
        self.partials = PartialFolder(folder, ticks=ticks)
        self._connection: http.client.HTTPConnection | None = None
        self._stopped, self._interrupted, self._wake = threading.Event(), threading.Event(), threading.Event()

    def cancel(self) -> None:
        """Make the download in hand, and every later one, fail at once; what has arrived stays for the next start."""
        self._stopped.set()
        self._break()

    def close(self) -> None:
        """Let go of the connection; the next download makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def interrupt(self) -> None:
        """Make downloads fail at once, until `proceed`: something else is wanted first."""
        self._interrupted.set()
        self._break()

    def proceed(self) -> None:
        """End an interruption."""
        self._interrupted.clear()
        if not self._stopped.is_set():
            self._wake.clear()

    def keep_only(self, releases: frozenset[ReleaseRef]) -> int:
        """Delete what is left of the downloads of all other releases; return how many."""
        return self.partials.collect(lambda resource: release_of(resource) in releases)

    def forget(self, resource: str) -> None:
        """Delete what is left of a download."""
        self.partials.forget(resource)

    def fetch(self, resource: str, limit_bytes: int) -> Path:
        """Download a resource and return its file, which is the caller's to move away or to `forget`.

        Raises:
            ResourceFinalError: the registry does not have it.
            TransferError: it did not arrive; another try goes on where this one stopped.
        """
        partial = self.partials.open(resource, limit_bytes)
        try:
            self._collect(partial)
        finally:
            partial.close()
        return partial.path

    def _collect(self, partial: Partial) -> None:
        failures, reason = 0, ""
        while not partial.complete:
            before = partial.arrived_bytes
            try:
                self._try(partial)
            except (OSError, http.client.HTTPException, _NotNowError) as error:
                self.close()
                reason = str(error) or type(error).__name__
            self._check(partial.resource)
            if partial.complete:
                return
            failures = 0 if partial.arrived_bytes > before else failures + 1
            if failures >= self.limits.tries:
                raise TransferError(partial.resource, f"it did not come in {failures} tries; the last: {reason}")
            longest = min(self.limits.patience_s * 2.0**failures, self.limits.longest_patience_s)
            self._wake.wait(longest * (0.5 + 0.5 * self._jitter()))
            self._check(partial.resource)

    def _check(self, resource: str) -> None:
        if self._stopped.is_set():
            raise TransferError(resource, "the agent is stopping")
        if self._interrupted.is_set():
            raise TransferError(resource, "interrupted, something else is wanted first")

    def _try(self, partial: Partial) -> None:
        """Ask for everything from the first byte that is missing, and store what comes."""
        offset = next(iter(partial.missing_blocks(UNIT_BYTES))) * UNIT_BYTES
        with contextlib.closing(self._ask(partial.resource, offset)) as response:
            if response.status == 401 and self._signer.believe(response.getheader("Date")):
                self.close()
                raise _NotNowError("the registry's time was another")
            if response.status in FINAL:
                self.close()
                raise ResourceFinalError(partial.resource, response.status, "the registry does not have it")
            if response.status not in (200, 206):
                raise _NotNowError(f"the registry answers {response.status} {response.reason}")
            offset, size_bytes = _extent(response)
            partial.expect(size_bytes)
            self._store(partial, response, offset)

    def _store(self, partial: Partial, response: http.client.HTTPResponse, offset: int) -> None:
        held, stored_at = bytearray(), self._ticks()
        while not partial.complete:
            piece = response.read1(_CHUNK_BYTES)
            held += piece
            whole = len(held) if offset + len(held) == partial.size_bytes else len(held) // UNIT_BYTES * UNIT_BYTES
            if offset + len(held) > (partial.size_bytes or 0):
                raise _NotNowError("more came than was said")
            if whole or not partial.size_bytes:
                partial.write(offset, bytes(held[:whole]))
                offset, stored_at = offset + whole, self._ticks()
                del held[:whole]
            elif not piece or self._ticks() - stored_at > self.limits.progress_s:
                raise _NotNowError("the connection ended before the file did")
            self._check(partial.resource)
            if (wait_s := self._others_wait_s()) > TARGET_S:
                self._wake.wait(min(wait_s, 1.0))  # TCP then holds the registry back
        response.read1(1)  # its end, so that the connection serves the next request

    def _ask(self, resource: str, offset: int) -> http.client.HTTPResponse:
        path = self._address.path.rstrip("/") + DELIVERY_PATH + quote(resource)
        headers = self._signer.headers(DELIVERY_PATH + quote(resource))
        if offset:
            headers["Range"] = f"bytes={offset}-"
        connection = self._connection or self._connect()
        self._connection = connection
        connection.request("GET", path, headers=headers)
        return connection.getresponse()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if self._address.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self.limits.timeout_s)
        context = ssl.create_default_context()
        if self._ca is not None and self._ca.exists():
            context.load_verify_locations(self._ca)
        return http.client.HTTPSConnection(host, port, timeout=self.limits.timeout_s, context=context)

    def _break(self) -> None:
        """Wake whoever waits for bytes or for the next try."""
        self._wake.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)


class _NotNowError(Exception):
    """This try is over."""


def _extent(response: http.client.HTTPResponse) -> tuple[int, int]:
    """Return (offset, size of the whole) of what an answer holds."""
    if response.status == 206:
        found = _RANGE.fullmatch(response.getheader("Content-Range", ""))
        if found is None or int(found["first"]) % UNIT_BYTES:
            raise _NotNowError("its Content-Range cannot be read")
        return int(found["first"]), int(found["size"])
    length = response.getheader("Content-Length", "")
    if not re.fullmatch(r"\d{1,15}", length):
        raise _NotNowError("it does not say how long it is")
    return 0, int(length)
