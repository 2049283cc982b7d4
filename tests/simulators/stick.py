"""A bundle as the registry would have written it, made from signed repositories with no registry process."""

import time
from datetime import timedelta
from pathlib import Path

from simulators.registry_side import SignedReleases

from protocols.bundles import BUNDLE_FILE, Bundle, decode_bundle, encode_bundle
from protocols.names import ReleaseRef
from protocols.resources import target_path


def write_stick(folder: Path, signed: SignedReleases, device: str, *refs: ReleaseRef, days: int = 7) -> Path:
    """Write a device's bundle, with the files of these releases."""
    life = timedelta(days=days)
    metadata, targets = signed.director.carry(device, life)
    contents = {f"director/metadata/{name}": data for name, data in metadata.items()}
    contents |= {f"director/targets/{name}": data for name, data in targets.items()}
    contents |= {f"image/metadata/{name}": data for name, data in signed.image.carry(life).items()}
    for ref in refs:
        for name, info in signed.files_of(ref).items():
            resource = "image/targets/" + target_path(ref, f"{info.sha256}.{name}")
            found = signed.read(device, resource)
            assert found is not None
            contents[resource] = found
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    sizes = {name: len(data) for name, data in contents.items()}
    now = time.time()
    (folder / BUNDLE_FILE).write_bytes(encode_bundle(Bundle(sizes, refs, now, now + days * 86_400, device)))
    return folder


def relist(folder: Path, **sizes: int) -> None:
    """Change what `bundle.json` says of sizes (a name's `/` is written `__`)."""
    bundle = decode_bundle((folder / BUNDLE_FILE).read_bytes())
    files = {**bundle.files, **{name.replace("__", "/"): size for name, size in sizes.items()}}
    changed = Bundle(files, bundle.releases, bundle.made_at, bundle.expires_at, bundle.device)
    (folder / BUNDLE_FILE).write_bytes(encode_bundle(changed))
