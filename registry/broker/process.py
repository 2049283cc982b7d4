"""The broker's process: listens on the loopback interface until it is told to stop."""

import asyncio
import errno
import logging
import signal
import socket

from protocols.broker import LOOPBACK
from registry.broker.corrections import LosslessBroker
from registry.errors import PortInUseError

#: Seconds of silence beyond a client's own keep-alive after which it counts as gone.
SILENCE_S = 15


def serve_broker(port: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        PortInUseError: another process listens on the port.
    """
    _check_free(port)
    # Each of amqtt's lines is about one client's connection; what matters to an operator is in the service's log.
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    asyncio.run(_serve(port))


async def _serve(port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = LosslessBroker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{LOOPBACK}:{port}", "max_connections": 0}},
            "timeout_disconnect_delay": SILENCE_S,
            "plugins": {},
        }
    )
    await broker.start()
    await stop.wait()
    try:
        await asyncio.wait_for(broker.shutdown(), 2)
    except TimeoutError:
        logging.getLogger(__name__).info("stopped with clients still connected")


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortInUseError(LOOPBACK, port) from error
