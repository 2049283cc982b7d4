"""Signing: the two TUF repositories, as Uptane arranges them.

`image` says what may ever run; `director` says what one device should run now. A device installs only what both
agree on.
"""

__all__ = ["director", "image", "keys", "metadata"]
