"""How long batches of a model take here, learned as they are served, and the largest that meets a time. Pure."""

#: The newest measurement's weight: a machine that gets hot slows down within a few batches.
_NEWEST = 0.2
#: Of one that was quicker: the first runs of a session are slow.
_QUICKER = 0.5


class BatchCosts:
    """Seconds by size of batch, in classes of powers of two."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def learn(self, rows: int, seconds: float) -> None:
        """Take note of one batch."""
        size = (rows - 1).bit_length()
        before = self._seconds.get(size)
        weight = _NEWEST if before is not None and seconds > before else _QUICKER
        self._seconds[size] = seconds if before is None else before + weight * (seconds - before)

    def one_row_within(self, seconds: float) -> bool:
        """Whether a row alone is known to take no longer."""
        return self._seconds.get(0, seconds + 1) <= seconds

    def within(self, rows: int, seconds: float) -> bool:
        """Whether so many rows, of which as many or fewer were measured, should take no longer."""
        size = (rows - 1).bit_length()
        return any(known <= size for known in list(self._seconds)) and self._expected(size) <= seconds

    def largest(self, limit: int, left_s: float) -> int:
        """Return the most rows, up to `limit`, that should be done within `left_s`.

        A size twice as large as any that was measured is tried and no larger one. Where not even one row can be in
        time, the answer is `limit`: what is late already is done soonest in few batches.
        """
        if left_s <= self._seconds.get(0, 0.0):
            return limit
        size = 0
        while (2 << size) <= limit and self._known(size) and self._expected(size + 1) <= left_s:
            size += 1
        rows = 1 << size
        fits = rows * 2 > limit and self._known(size) and self._expected(size + 1) <= left_s
        return limit if fits else rows

    def bounded(self, limit: int, seconds: float) -> int:
        """Return the most rows, up to `limit`, that no measurement says would take longer; at least one."""
        if self._expected((limit - 1).bit_length()) <= seconds:
            return limit
        return 1 if self._seconds.get(0, 0.0) >= seconds else self.largest(limit, seconds)

    def _known(self, size: int) -> bool:
        """Whether a batch of this class or a larger one was measured."""
        return any(known >= size for known in self._seconds)

    def _expected(self, size: int) -> float:
        """Seconds of a class: measured, or by the nearest smaller one, as if each row cost the same."""
        smaller = [known for known in list(self._seconds) if known <= size]  # another thread may learn meanwhile
        if not smaller:
            return 0.0
        nearest = max(smaller)
        return self._seconds[nearest] * (1 << (size - nearest))
