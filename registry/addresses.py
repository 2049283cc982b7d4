"""Addresses of this machine: which are its own alone, and by what names others may know it."""

import ipaddress
import socket

import psutil


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether a host means every address of this machine."""
    return host in ("", "0.0.0.0", "::")  # noqa: S104 - it is asked about, not bound


def own_names() -> list[str]:
    """Return the names and addresses that this machine knows itself by; `--name` adds what others call it."""
    addresses = [
        address.address
        for each in psutil.net_if_addrs().values()
        for address in each
        if address.family in (socket.AF_INET, socket.AF_INET6) and "%" not in address.address
    ]
    names = [socket.gethostname(), socket.getfqdn(), "localhost"]
    return [*dict.fromkeys(name for name in names if name.isascii()), *sorted(set(addresses))]
