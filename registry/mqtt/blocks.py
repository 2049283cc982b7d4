"""Serving blocks: bounded memory, and no device starves another.

Each device has a short list of downloads with the blocks that it still wants. Devices take turns; a turn sends a
quarter of a megabyte, so a device that fetches a large model does not hold up one that fetches metadata.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from protocols.blocks import MAX_WINDOW, BlockPlan, blocks_of
from protocols.messages import Block, BlockRequest
from registry.errors import ResourceGoneError, ResourceMissingError, ResourceNotReadyError
from registry.logs import Seldom
from registry.mqtt.cache import BlockCache, Readable

log = logging.getLogger(__name__)

TURN_BYTES = 256 * 1024
#: Downloads per device, and devices, that may wait; beyond it a device is told to come back later.
MOST_DOWNLOADS, MOST_DEVICES = 4, 5000
MOST_WANTED = 4 * MAX_WINDOW
#: A device that was allowed to read a file may read on for so long, in seconds, before it is looked up again.
OPENED_LIFE_S = 30.0
MOST_OPENED = 2000
#: No resource has a longer name.
_LONGEST_NAME = 512


@dataclass(slots=True)
class _Download:
    resource: str
    block_bytes: int
    wanted: OrderedDict[int, None] = field(default_factory=OrderedDict)
    opened: Readable | None = None


@dataclass(slots=True)
class _Waiting:
    site: str
    downloads: OrderedDict[int, _Download] = field(default_factory=OrderedDict)


class BlockServer:
    """Answers block requests from a small pool of threads.

    Args:
        open_resource: (device, resource) -> what that device may read; raises the 404 and 410 of `registry.errors`.
        send: (site, device, block); blocks while too much is on its way, and returns False while there is no link.
    """

    def __init__(
        self,
        open_resource: Callable[[str, str], Readable],
        send: Callable[[str, str, Block], bool],
        threads: int = 2,
    ) -> None:
        self._open = open_resource
        self._send = send
        self._devices: OrderedDict[str, _Waiting] = OrderedDict()
        self._served: set[str] = set()
        self._changed = threading.Condition()
        self._opened: OrderedDict[tuple[str, str], tuple[Readable, float]] = OrderedDict()
        self.cache = BlockCache()
        self._stopping = False
        self._seldom = Seldom(time.monotonic)
        self._threads = [threading.Thread(target=self._work, name=f"blocks-{n}", daemon=True) for n in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)

    def submit(self, site: str, device: str, request: BlockRequest) -> None:
        """Queue a request. One for blocks that are queued already adds nothing."""
        if len(request.resource) > _LONGEST_NAME:
            self._send(site, device, Block(request.transfer, status=404, reason="no resource has so long a name"))
            return
        with self._changed:
            waiting = self._devices.get(device)
            if waiting is None:
                if len(self._devices) >= MOST_DEVICES:
                    self._send(site, device, Block(request.transfer, status=503, reason="too many devices are waiting"))
                    return
                waiting = self._devices[device] = _Waiting(site)
            download = waiting.downloads.get(request.transfer)
            if download is None or (download.resource, download.block_bytes) != (request.resource, request.block_bytes):
                download = waiting.downloads[request.transfer] = _Download(request.resource, request.block_bytes)
            for index in blocks_of(request.first, request.mask):
                if len(download.wanted) < MOST_WANTED:
                    download.wanted[index] = None
            while len(waiting.downloads) > MOST_DOWNLOADS:
                waiting.downloads.popitem(last=False)
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                device = self._next()
                while device is None and not self._stopping:
                    self._changed.wait()
                    device = self._next()
                if device is None or self._stopping:
                    return
                waiting = self._devices[device]
                self._served.add(device)
            try:
                self._turn(device, waiting)
            except Exception:  # this device's turn is over; the others must still get theirs
                log.exception("blocks could not be served", extra={"device": device})
                waiting.downloads.clear()
            with self._changed:
                self._served.discard(device)
                if waiting.downloads:
                    self._devices.move_to_end(device)  # this thread takes the next one itself
                else:
                    del self._devices[device]

    def _next(self) -> str | None:
        """Return the device that has waited longest and that no thread serves now."""
        return next((device for device in self._devices if device not in self._served), None)

    def _turn(self, device: str, waiting: _Waiting) -> None:
        with self._changed:
            transfer, download = next(iter(waiting.downloads.items()))
        if not download.wanted:
            self._drop(waiting, transfer, download)
            return
        failure = self._open_for(device, download)
        if failure is not None:
            self._send(waiting.site, device, Block(transfer, status=failure[0], reason=failure[1]))
            self._drop(waiting, transfer, download, unconditionally=True)
            return
        if not self._send_blocks(device, waiting.site, transfer, download):
            waiting.downloads.clear()  # the link is gone: the device asks again when it is back
            return
        self._drop(waiting, transfer, download)

    def _open_for(self, device: str, download: _Download) -> tuple[int, str] | None:
        """Open the resource once; return (status, reason) where that cannot be."""
        if download.opened is not None:
            return None
        try:
            resource = self._find(device, download.resource)
            BlockPlan(resource.size, download.block_bytes)
        except (ResourceMissingError, ValueError) as error:
            return 404, str(error)
        except (ResourceGoneError, FileNotFoundError) as error:
            return 410, str(error)
        except ResourceNotReadyError as error:
            return 503, str(error)
        except Exception as error:  # whatever it is, it may be over when the device asks again
            if self._seldom.due(type(error).__name__):
                log.warning("a resource cannot be read now: %s", error, extra={"resource": download.resource})
            return 503, "the registry cannot read it now"
        download.opened = resource
        return None

    def _find(self, device: str, name: str) -> Readable:
        """Open a resource; a file that the device has been reading is not looked up at each of its requests."""
        now, key = time.monotonic(), (device, name)
        with self._changed:
            known = self._opened.get(key)
        if known is not None and now < known[1]:
            return known[0]
        resource = self._open(device, name)
        if resource.key is not None:
            with self._changed:
                self._opened.pop(key, None)
                self._opened[key] = resource, now + OPENED_LIFE_S
                if len(self._opened) > MOST_OPENED:
                    self._opened.popitem(last=False)
        return resource

    def _send_blocks(self, device: str, site: str, transfer: int, download: _Download) -> bool:
        resource = download.opened
        assert resource is not None  # noqa: S101 - opened by the caller
        plan, room = BlockPlan(resource.size, download.block_bytes), TURN_BYTES
        while room > 0 and not self._stopping:
            with self._changed:
                if not download.wanted:
                    break
                index, _ = download.wanted.popitem(last=False)
            if index >= plan.count:
                continue
            data, digest = self.cache.read(resource, *plan.span(index))
            if not self._send(site, device, Block(transfer, index, plan.size_bytes, data, digest)):
                return False
            room -= max(1, len(data))
        return True

    def _drop(self, waiting: _Waiting, number: int, download: _Download, *, unconditionally: bool = False) -> None:
        """End a turn: forget a download that is done, or let the device's next one go first."""
        with self._changed:
            if waiting.downloads.get(number) is not download:
                return
            if unconditionally or not download.wanted:
                del waiting.downloads[number]
            else:
                waiting.downloads.move_to_end(number)
