"""A release's trial on live messages: when it has failed too often, or taken too long, to stay. Pure."""

#: So many failures in a row are enough, whatever went before.
FAILURES_ALLOWED = 5
#: Beyond that, a share is judged, of at least so many rows.
ROWS_NEEDED = 50
SHARE_ALLOWED = 0.1
#: Older rows count half, again and again, so that a long trial does not forgive a late fault.
_ROWS_REMEMBERED = 1000


class Trial:
    """Counts what a release does between its activation and its confirmation.

    Args:
        latency_limit_ms: longest that the release promises for one row; None: it promises nothing.
    """

    def __init__(self, latency_limit_ms: float | None = None) -> None:
        self._limit_ms = latency_limit_ms
        self._in_a_row = 0
        self._rows = self._failed = self._slow = 0.0
        self._reason = ""

    def failed(self, reason: str, rows: int = 1) -> None:
        """Count rows that the model failed on, or answered with what is no number."""
        self._forget()
        self._rows += rows
        self._failed += rows
        self._in_a_row += rows
        self._reason = reason

    def served(self, rows: int, seconds: float) -> None:
        """Count rows that were answered by one call of the model, which took so long."""
        self._forget()
        self._rows += rows
        self._in_a_row = 0
        if self._limit_ms is not None and seconds * 1000 > self._limit_ms * rows:
            self._slow += rows

    def _forget(self) -> None:
        if self._rows > _ROWS_REMEMBERED:
            self._rows, self._failed, self._slow = self._rows / 2, self._failed / 2, self._slow / 2

    def verdict(self) -> str | None:
        """Return why the release must go, or None while it may stay."""
        if self._in_a_row >= FAILURES_ALLOWED:
            return f"{self._in_a_row} messages in a row failed: {self._reason}"
        if self._rows < ROWS_NEEDED:
            return None
        if self._failed > SHARE_ALLOWED * self._rows:
            return f"{self._failed / self._rows:.0%} of its messages failed, the last so: {self._reason}"
        if self._slow > SHARE_ALLOWED * self._rows:
            share = self._slow / self._rows
            return f"{share:.0%} of its rows took longer than the {self._limit_ms:g} ms that the release promises"
        return None
