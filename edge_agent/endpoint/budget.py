"""What the requests that are on their way or being served may take together, so that a small board does not run out."""


class Budget:
    """Bytes that are taken and given back. For one thread.

    Args:
        limit_bytes: of all together.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.taken_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """Take so many if they are there; return whether they were."""
        if self.taken_bytes + size_bytes > self._limit_bytes:
            return False
        self.taken_bytes += size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        """Give back what was taken."""
        self.taken_bytes -= size_bytes
