"""The registry over HTTPS, for the two times when MQTT cannot be used: enrolment, and a certificate that has ended."""

import ssl
import urllib.error
import urllib.request
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from edge_agent.errors import RegistryCallError

_REPLY_LIMIT_BYTES = 1024 * 1024
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
T = TypeVar("T")


class Rest:
    """One registry. Nothing is sent unencrypted beyond this machine, and no redirect is followed.

    Args:
        registry: its address, http:// on this machine alone.
        authority: the registry's authority, PEM, to believe beside the system's; None believes whoever answers, which
            is right only for what proves itself in another way.

    Raises:
        RegistryCallError: the address is none, or would send everything unencrypted.
    """

    def __init__(self, registry: str, authority: str | None, *, timeout_s: float = 30.0) -> None:
        parts = urlsplit(registry)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistryCallError(f"--registry {registry!r} is not an address; write https://registry.example:8443")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise RegistryCallError(f"--registry {registry!r} would send the token unencrypted; use https://")
        self.url, self._host, self._timeout_s = registry.rstrip("/"), parts.hostname, timeout_s
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if authority is None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        elif "BEGIN CERTIFICATE" in authority:
            context.load_verify_locations(cadata=authority)
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect(), urllib.request.HTTPSHandler(context=context)]
        if parts.hostname in _LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, kind: type[T]) -> T:
        """Return what is at a path below /api/v1; raises as `post`."""
        return self._call(urllib.request.Request(f"{self.url}/api/v1{path}"), kind)  # noqa: S310 - checked above

    def post(self, path: str, body: Any, kind: type[T]) -> T:
        """Send a struct and return the reply.

        Raises:
            RegistryCallError: nobody answers, not as a registry, or with a refusal; `status` is 0, or HTTP's.
        """
        data = msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"}
        return self._call(urllib.request.Request(f"{self.url}/api/v1{path}", data, headers, method="POST"), kind)  # noqa: S310

    def _call(self, request: urllib.request.Request, kind: type[T]) -> T:
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                data = response.read(_REPLY_LIMIT_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                said = _said(error.read(_REPLY_LIMIT_BYTES))
            raise RegistryCallError(f"{request.full_url} answered {error.code}: {said}", error.code, said) from error
        except OSError as error:  # urllib.error.URLError is one
            raise RegistryCallError(self._unreachable(getattr(error, "reason", error))) from error
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RegistryCallError(f"{request.full_url} did not answer as a Genba registry does: {error}") from error

    def _unreachable(self, reason: Any) -> str:
        if isinstance(reason, ssl.SSLCertVerificationError):
            if reason.verify_code in (62, 64):
                return (
                    f"the registry at {self.url} shows a certificate that is not for the name {self._host!r}; name it "
                    "as its certificate does, or start it with `genba registry serve --name`"
                )
            return (
                f"the registry at {self.url} shows a certificate that neither this system's authorities nor the "
                f"registry's own have signed ({reason.verify_message}); check the address"
            )
        return f"the registry at {self.url} cannot be reached: {reason}; check the address and that the registry runs"


class _Problem(msgspec.Struct):
    """problem+json."""

    title: str = ""
    detail: str = ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could take the token somewhere else, unencrypted."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _said(body: bytes) -> str:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "no reason given"
    return problem.detail or problem.title or "no reason given"
