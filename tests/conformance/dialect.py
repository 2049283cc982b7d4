"""The generator of the public vectors, made to write what today's TUF and Genba's repositories look like.

The generator signs in one place; there the document is put into today's form before it is signed, with the vector's own
key. All that a vector is about (who signed, thresholds, versions, dates, hashes, names) stays as the vector has it.

    then                                             now
    `_type` "Root", no `spec_version`                "root", the version that python-tuf implements
    keys without a scheme                            the scheme that the vector signs with
    a director with root and targets                 timestamp and snapshot too, good ones, by a key of ours
    `hardwareIds`; `ecuIdentifiers`, `hardwareId`    `profiles`; `device`, `profiles`
    one file, `file.txt`                             the files of the release file-txt@1, all alike
"""

import binascii
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import SPECIFICATION_VERSION

from protocols.names import ReleaseRef
from protocols.resources import RELEASE_FILES, metadata_url, target_path, targets_url

#: What the generator imports to sign with, and no longer needs.
_NOT_NEEDED = ("ed25519", "Crypto", "Crypto.Hash", "Crypto.PublicKey", "Crypto.Signature")
_NAMES = ("SHA256", "SHA512", "RSA", "PKCS1_PSS")
_GOOD_UNTIL = "2038-01-19T03:14:06Z"
ONLINE = CryptoSigner.generate_ed25519()


@dataclass(frozen=True)
class Step:
    """What a vector's two repositories serve at one step, and what the files are that the director names."""

    files: dict[str, bytes] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)


def vectors(folder: Path, device: str, profile: str, key_type: str, scheme: str) -> dict[str, Callable[..., Any]]:
    """Return name -> what makes the vector, given an `output_dir` that the generator may fill."""
    for name in _NOT_NEEDED:
        stand_in = sys.modules.setdefault(name, ModuleType(name))
        for each in _NAMES:
            setattr(stand_in, each, None)
    sys.path.insert(0, str(folder))
    generator = importlib.import_module("tuf_vectors.uptane")
    importlib.import_module("tuf_vectors.metadata").Metadata.sign = _sign
    options = {
        "key_type": key_type,
        "signature_scheme": scheme,
        "signature_encoding": "hex",
        "compact": True,
        "cjson_strategy": "olpc",
        "ecu_identifier": device,
        "hardware_id": profile,
    }
    found = importlib.import_module("tuf_vectors").subclasses(generator.Uptane)
    return {each.name(): partial(each, **options) for each in found}


def release(name: str) -> ReleaseRef:
    """Return the release that stands for a vector's file."""
    return ReleaseRef(name.replace(".", "-"), 1)


def steps(vector: Any) -> list[Step]:
    """Return what a device meets, step by step."""
    return [_step(number, director, image) for number, (director, image) in enumerate(vector.steps)]


def _step(number: int, director: Any, image: Any) -> Step:
    step = Step()
    for repository, made in (("director", director), ("image", image)):
        roles = [made.targets] if repository == "director" else [made.targets, made.snapshot, made.timestamp]
        files = {f"{role.role_name}.json": role for role in roles}
        files |= {f"{root.version}.root.json": root for root in made.roots}
        files |= {f"{name}.json": role for name, role in getattr(made, "delegations", {}).items()}
        for name, role in files.items():
            step.files[metadata_url(repository) + name] = role.jsonify(role.value).encode()
    for name, signed in _online(number, director).items():
        step.files[metadata_url("director") + name] = encode_canonical(signed).encode()
    for role in (image.targets, *image.delegations.values()):
        for target in role.targets:
            for path in _paths(target.name):
                step.files[targets_url("image") + path] = target.content
    step.contents.update({target.name: target.content for target in director.targets.targets})
    return step


def _online(number: int, director: Any) -> dict[str, Any]:
    """Return the two roles that a director of the vectors does not have."""
    signed = {"spec_version": _spec_version(), "expires": _GOOD_UNTIL, "version": number + 1}
    targets = {"targets.json": {"version": director.targets.value["signed"]["version"]}}
    roles = {"snapshot": targets, "timestamp": {"snapshot.json": {"version": number + 1}}}
    return {f"{role}.json": _enveloped(signed | {"_type": role, "meta": meta}) for role, meta in roles.items()}


def _enveloped(signed: dict[str, Any]) -> dict[str, Any]:
    signature = ONLINE.sign(encode_canonical(signed).encode())
    return {"signed": signed, "signatures": [signature.to_dict()]}


def _sign(role: Any, directives: list[Any], signed: dict[str, Any]) -> list[dict[str, str]]:
    """Put a document into today's form and sign it; stands in for the generator's `Metadata.sign`."""
    signed["_type"], signed["spec_version"] = signed["_type"].lower(), _spec_version()
    _complete_keys(signed.get("keys", {}), role.signature_scheme)
    if "roles" in signed and role.uptane_role == "director":
        _add_online_roles(signed)
    if "targets" in signed:
        _name_releases(signed, [target.name for target in role.targets])
        _complete_keys(signed.get("delegations", {}).get("keys", {}), role.signature_scheme)
    data = encode_canonical(signed).encode()
    return [_signature(role, *key, data) for key, _spoilt in directives]  # no vector spoils one


def _signature(role: Any, private: str, public: str, data: bytes) -> dict[str, str]:
    keyid, scheme = role.key_id(public, bad_id=False), role.signature_scheme
    known = SSlibKey(keyid, "ed25519" if scheme == "ed25519" else "rsa", scheme, {"public": public})
    return {"keyid": keyid, "sig": CryptoSigner(_key(private), known).sign(data).signature}


@cache
def _key(private: str) -> Any:
    """Return one of the generator's keys; an RSA key takes its time to be read."""
    if private.startswith("-----"):
        return load_pem_private_key(private.encode(), None)
    return Ed25519PrivateKey.from_private_bytes(binascii.unhexlify(private)[:32])


def _complete_keys(keys: dict[str, Any], scheme: str) -> None:
    for key in keys.values():
        key["scheme"] = scheme


def _add_online_roles(root: dict[str, Any]) -> None:
    known = ONLINE.public_key
    root["keys"][known.keyid] = known.to_dict()
    for role in ("snapshot", "timestamp"):
        root["roles"][role] = {"keyids": [known.keyid], "threshold": 1}


def _name_releases(signed: dict[str, Any], files: list[str]) -> None:
    """Let every file be a release; what is there only to fill the document stays."""
    targets = {}
    for name, target in signed["targets"].items():
        ours = {**target, "custom": _note(target["custom"])}
        targets |= dict.fromkeys(_paths(name) if name in files else (name,), ours)
    signed["targets"] = targets
    for role in signed.get("delegations", {}).get("roles", ()):
        role["paths"] = [path for name in role["paths"] for path in _paths(name)]


def _note(custom: dict[str, Any]) -> dict[str, Any]:
    for ecu, facts in custom.get("ecuIdentifiers", {}).items():
        return {"device": ecu, "profiles": [facts["hardwareId"]]}
    return {"profiles": custom["hardwareIds"]}


def _paths(name: str) -> tuple[str, ...]:
    return tuple(map(partial(target_path, release(name)), RELEASE_FILES))


def _spec_version() -> str:
    return ".".join(SPECIFICATION_VERSION)
