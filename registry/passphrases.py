"""Passphrases and PINs: from a file, the environment or the terminal, never from the command line."""

import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path

from registry.errors import PassphraseError

VARIABLE = "GENBA_PASSPHRASE"
#: Takes what it is for, and returns it.
Passphrase = Callable[[str], str]


def ask_for(what: str) -> str:
    """Return GENBA_PASSPHRASE where it is set, or ask at the terminal.

    Raises:
        PassphraseError: neither is there.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise PassphraseError(f"{what}: there is no terminal to ask at; set {VARIABLE}, or give --passphrase-file FILE")
    return getpass.getpass(f"{what}: ")


def read_passphrase_file(path: Path) -> Passphrase:
    """Return a source that reads the file's first line.

    Raises:
        PassphraseError: it cannot be read, is empty, or others may read it.
    """
    try:
        readable = path.stat().st_mode & 0o077
        lines = path.read_text().splitlines()
    except OSError as error:
        raise PassphraseError(f"--passphrase-file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PassphraseError(f"--passphrase-file {path}: not text") from error
    if readable:
        raise PassphraseError(f"--passphrase-file {path}: others may read it; `chmod 600 {path}`")
    if not lines or not lines[0]:
        raise PassphraseError(f"--passphrase-file {path}: its first line is empty")
    return lambda what: lines[0]
