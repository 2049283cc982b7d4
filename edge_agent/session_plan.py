"""How a release's session is to be made on this device: everything that the agent may choose about it."""

from pathlib import Path
from typing import Any, Literal

import msgspec

#: A provider's name, alone or with its options, as ONNX Runtime takes them.
Provider = str | tuple[str, dict[str, Any]]

CPU = "CPUExecutionProvider"

Optimization = Literal["none", "basic", "extended", "all"]
Precision = Literal["float32", "float16", "int8"]


def provider_name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]


class SessionPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is chosen for one release on one device. The preflight proves the plan that the daemon then serves by.

    Attributes:
        providers: most wanted first; the first is the one that must really do the work.
        asked: what this device wanted, where it had to be another first one; empty: the first one itself.
        allow_fallback: put up with another doing it.
        threads: for one run; 0 leaves it to ONNX Runtime.
        optimization: how far ONNX Runtime rewrites the graph.
        mapped: the graph in ONNX Runtime's own form, made on this device, mapped into memory; None: it is read.
        prepacked: have weights arranged for this processor, which takes a copy of them.
        max_batch: most rows in one run, above which a row takes longer; 0: no limit.
        precision: which of the release's graphs is served; the others are variants that its manifest lists.
        cache: folder where the provider keeps what it compiles; None: nowhere.
    """

    providers: tuple[Provider, ...] = (CPU,)
    asked: str = ""
    allow_fallback: bool = False
    threads: int = 0
    optimization: Optimization = "all"
    mapped: Path | None = None
    prepacked: bool = True
    max_batch: int = 0
    precision: Precision = "float32"
    cache: Path | None = None

    @property
    def wanted(self) -> str:
        """The name of the provider that must really do the work."""
        return provider_name(self.providers[0])
