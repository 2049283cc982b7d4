"""A registry's REST API, as its OpenAPI document describes it, by the standard library alone."""

import json
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from registry.errors import RegistryRefusedError, RegistryUnreachableError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIMEOUT_S = 60.0


class RegistryClient:
    """One registry and the token that speaks to it.

    Raises:
        RegistryUnreachableError: nothing answers there, or the token would travel in the clear.
        RegistryRefusedError: the registry answered with a problem; its own words are the text.
    """

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistryUnreachableError(url, "that is no address; write https://host:port")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise RegistryUnreachableError(url, "http:// would send the token in the clear; use https://")
        self.url = url.rstrip("/")
        self._token = token

    def get(self, path: str) -> Any:
        return self._json("GET", path, None)

    def put(self, path: str, body: Any) -> Any:
        return self._json("PUT", path, json.dumps(body).encode())

    def post(self, path: str, body: Any, content_type: str = "application/json") -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._json("POST", path, data, content_type)

    def post_files(self, path: str, files: Mapping[str, Path]) -> Any:
        """Upload files as multipart/form-data, each under its own name."""
        boundary = secrets.token_hex(16)
        parts = []
        for name, file in files.items():
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            parts += [head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", file.read_bytes(), b"\r\n"]
        parts.append(f"--{boundary}--\r\n".encode())
        return self._json("POST", path, b"".join(parts), f"multipart/form-data; boundary={boundary}")

    def get_bytes(self, path: str) -> bytes:
        return self._call("GET", path, None, "application/json")

    def _json(self, method: str, path: str, data: bytes | None, content_type: str = "application/json") -> Any:
        return json.loads(self._call(method, path, data, content_type) or b"null")

    def _call(self, method: str, path: str, data: bytes | None, content_type: str) -> bytes:
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        address = f"{self.url}/api/v1{path}"
        request = urllib.request.Request(address, data, headers, method=method)  # noqa: S310 - checked in __init__
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310
                content: bytes = reply.read()
        except urllib.error.HTTPError as error:
            raise RegistryRefusedError(error.code, _problem(error)) from error
        except (OSError, ValueError) as error:
            raise RegistryUnreachableError(self.url, str(getattr(error, "reason", error))) from error
        return content


def _problem(error: urllib.error.HTTPError) -> str:
    body = error.read(65_536)
    try:
        problem = json.loads(body)
        return str(problem.get("detail") or problem.get("title") or error.reason)
    except (ValueError, AttributeError):
        return f"HTTP {error.code} {error.reason}"


def connect(url: str | None, token: str | None) -> RegistryClient:
    """Return a client for what the command line named, or else for GENBA_REGISTRY and GENBA_TOKEN.

    Raises:
        RegistryUnreachableError: no registry is named.
    """
    address = url or os.environ.get("GENBA_REGISTRY")
    if not address:
        raise RegistryUnreachableError("(none)", "no registry is named: give --registry URL or set GENBA_REGISTRY")
    return RegistryClient(address, token or os.environ.get("GENBA_TOKEN", ""))
