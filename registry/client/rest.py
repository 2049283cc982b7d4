"""A registry over REST, by the standard library alone."""

import contextlib
import http.client
import ipaddress
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from registry.errors import NotAuthorisedError, RegistryRefusedError, RegistryUnreachableError

REPLY_LIMIT_BYTES = 64 * 1024 * 1024
JSON = "application/json"
_CHUNK_BYTES = 256 * 1024


class RegistryClient:
    """One registry. The token goes to its address and nowhere else: no redirect is followed.

    Args:
        url: http://host:port on this machine, https:// elsewhere.
        token: the API token; None for reading alone.

    Raises:
        RegistryUnreachableError: the address is none, or would send the token unencrypted over a network.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = 60.0) -> None:
        self.url = _checked(url)
        self._token = token
        self._timeout_s = timeout_s
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect(), urllib.request.HTTPSHandler(context=_context())]
        if _is_loopback(urlsplit(self.url).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str) -> Any:
        """GET a path below /api/v1 and return its JSON.

        Raises:
            RegistryRefusedError: the registry answered with a problem.
            RegistryUnreachableError: it did not answer, or not as a registry.
        """
        return self.call("GET", path)

    def send(self, method: str, path: str, body: Any) -> Any:
        """Send a JSON body. Raises as `get`, and NotAuthorisedError where there is no token to send."""
        return self.call(method, path, msgspec.json.encode(body))

    def call(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        *,
        content_type: str = JSON,
        size_bytes: int | None = None,
    ) -> Any:
        """Send a request; a body that is not bytes is streamed, and `size_bytes` is what it weighs."""
        headers = self._headers(content_type if body is not None else None, size_bytes)
        with self._opened(method, path, body, headers) as reply:
            data = reply.read(REPLY_LIMIT_BYTES)
        try:
            return msgspec.json.decode(data) if data else None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RegistryUnreachableError(self.url, "what answers there is not a Genba registry") from error

    def download(self, path: str) -> Iterator[bytes]:
        """Yield what lies at a path, piece by piece. Raises as `get`, during iteration too."""
        with self._opened("GET", path, None, self._headers(None, None)) as reply:
            while chunk := reply.read(_CHUNK_BYTES):
                yield chunk

    @contextlib.contextmanager
    def _opened(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Iterator[Any]:
        if method != "GET" and not self._token:
            raise NotAuthorisedError(f"{self.url} changes nothing without a token")
        if body is not None and not isinstance(body, bytes):
            self.get("/models")  # a wrong token is told before the upload, in words: the server hangs up in its midst
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked in _checked
            f"{self.url}/api/v1{quote(path, safe='/?=&@%,')}", body, dict(headers), method=method
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s) as reply:
                yield reply
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error.code, error.read(REPLY_LIMIT_BYTES)) from error
        except (OSError, http.client.HTTPException) as error:
            raise RegistryUnreachableError(self.url, _reason(error)) from error

    def _headers(self, content_type: str | None, size_bytes: int | None) -> Mapping[str, str]:
        headers = {"Accept": JSON}
        if content_type is not None:
            headers["Content-Type"] = content_type
        if size_bytes is not None:
            headers["Content-Length"] = str(size_bytes)
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _refused(self, status: int, data: bytes) -> RegistryRefusedError | RegistryUnreachableError:
        try:
            problem = msgspec.json.decode(data, type=_Problem)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return RegistryUnreachableError(self.url, f"it answered {status} and not as a Genba registry does")
        return RegistryRefusedError(status, problem.detail or problem.title)


class _Problem(msgspec.Struct):
    """problem+json, as far as a person reads it."""

    title: str
    detail: str = ""


def _context() -> ssl.SSLContext:
    """Believe the system's authorities, and the registry's own where GENBA_CA names its certificate."""
    context = ssl.create_default_context()
    named = os.environ.get("GENBA_CA")
    if named:
        try:
            context.load_verify_locations(named)
        except OSError as error:
            raise RegistryUnreachableError(named, f"GENBA_CA cannot be read: {error}") from error
    return context


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could take the token somewhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise RegistryUnreachableError(url, f"not an address ({error})") from error
    if parts.scheme not in ("http", "https") or not host:
        raise RegistryUnreachableError(url, "not an address; write http://127.0.0.1:8080 or https://registry.example")
    if parts.scheme == "http" and not _is_loopback(host):
        raise RegistryUnreachableError(url, "it would send the token unencrypted over the network; use https://")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not believed ({cause.verify_message}); set GENBA_CA to the registry's ca/ca.pem, and "
            "name it as its certificate does"
        )
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return f"it does not answer ({text.lower()})"
