"""Names of models, sites, devices and streams, and references to releases."""

import re

import msgspec

from protocols.errors import NameRefusedError, ReleaseRefRefusedError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")


def check_name(noun: str, value: str) -> str:
    """Return `value` if topics, paths and certificates can carry it as the name of a `noun`.

    Raises:
        NameRefusedError: it cannot; the text says what is allowed.
    """
    if not _NAME.match(value):
        raise NameRefusedError(noun, value)
    return value


class ReleaseRef(msgspec.Struct, frozen=True, order=True):
    """One release by name, written `model@version`. Hashable and ordered."""

    model: str
    version: int

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"

    @classmethod
    def parse(cls, text: str) -> "ReleaseRef":
        """Read `model@version`.

        Raises:
            NameRefusedError: the model's name is refused, or the version is not a whole number from 1.
        """
        model, at, version = text.partition("@")
        check_name("model", model)
        if not at or not version.isascii() or not version.isdigit() or int(version) < 1:
            raise ReleaseRefRefusedError(text)
        return cls(model, int(version))
