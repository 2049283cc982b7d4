"""The service manager: what a unit of Type=notify says to it."""

import socket


class Manager:
    """A service manager's end of the socket; `@name` is an abstract one."""

    def __init__(self, address: str, patience_s: float = 20) -> None:
        self.address, self._patience_s = address, patience_s
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.settimeout(self._patience_s)

    def heard(self) -> list[str]:
        """Return the lines of the next datagram."""
        return self.socket.recv(4096).decode().splitlines()

    def wait_for(self, line: str) -> None:
        while line not in self.heard():
            pass

    def drain(self) -> list[str]:
        """Return every line that waits."""
        self.socket.setblocking(False)
        lines: list[str] = []
        try:
            while True:
                lines += self.heard()
        except BlockingIOError:
            self.socket.settimeout(self._patience_s)
            return lines

    def close(self) -> None:
        self.socket.close()
