"""Who may ask: programs of this machine. A web page in a browser of this machine may not. Pure.

A browser sends what a foreign page asks for to 127.0.0.1 as well. The page cannot forge the headers that give it away:
`Host` where its own name was made to point here (DNS rebinding), `Origin` and `Sec-Fetch-Site` where it asks across
sites.
"""

import re
from collections.abc import Mapping

from edge_agent.endpoint.exchange import Response, refusal

#: A name of this machine that only this machine can mean, whatever the port: it may be forwarded.
_LOCAL = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_OWN_SITE = {"same-origin", "none"}


def turned_away(headers: Mapping[str, str]) -> Response | None:
    """Return why a request is not served, or None where it may be."""
    host = headers.get("host")
    if host is None:
        return refusal(400, "the request has no Host header")
    if not _LOCAL.fullmatch(host):
        return refusal(421, f"Host is {host[:100]!r}; this endpoint answers to localhost and 127.0.0.1 alone")
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        return refusal(403, f"a page of {origin[:100]!r} asks; this endpoint serves no page of another origin")
    if headers.get("sec-fetch-site", "none") not in _OWN_SITE:
        return refusal(403, "a page of another site asks; this endpoint serves none")
    return None
