"""A release as a bundle in the user's cache: fetched once, because releases never change."""

import hashlib
import os
from pathlib import Path

from protocols.bundles import BUNDLE_FILE
from registry.client.bundles import export
from registry.client.cli import resolve
from registry.client.rest import RegistryClient
from registry.client.upload import UPLOAD_TIMEOUT_S


def bring(url: str, named: str) -> Path:
    """Return the folder of a release's bundle, from the cache or from the registry.

    Raises:
        RegistryRefusedError, RegistryUnreachableError, BundleNotWrittenError: it cannot be had, or not be kept.
    """
    client = RegistryClient(url, os.environ.get("GENBA_TOKEN"), timeout_s=UPLOAD_TIMEOUT_S)
    ref = resolve(client, named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genba" / "bundles"
    folder = cache / hashlib.sha256(client.url.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{ref.model}-{ref.version}"
    if not (out / BUNDLE_FILE).is_file():
        export(client, {"release": str(ref)}, out, lambda written, total: None)
    return out
