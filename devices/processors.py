"""What a processor is called: x86 says it itself, an Arm core gives two numbers.

Source: util-linux, sys-utils/lscpu-arm.c; Linux, arch/arm64/include/asm/cputype.h.
"""

from collections.abc import Mapping, Sequence

_MAKERS = {0x41: "Arm", 0x4E: "NVIDIA", 0x51: "Qualcomm", 0xC0: "Ampere"}
#: (implementer, part); those that edge boards and Arm servers have.
_PARTS = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD0E): "Cortex-A76AE",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4B): "Cortex-A78C",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
    (0x51, 0x804): "Kryo 4XX Gold",
    (0x51, 0x805): "Kryo 4XX Silver",
    (0xC0, 0xAC3): "Ampere-1",
}


def processor_name(cores: Sequence[Mapping[str, str]]) -> str | None:
    """Return the processor's name, of each kind of core that it has; None where nothing tells.

    Args:
        cores: the fields of /proc/cpuinfo, one mapping per core.
    """
    names = dict.fromkeys(name for core in cores if (name := core.get("model name") or _arm_name(core)))
    return " + ".join(names) or None


def _arm_name(core: Mapping[str, str]) -> str | None:
    implementer, part = _number(core.get("CPU implementer")), _number(core.get("CPU part"))
    if implementer is None or part is None:
        return None
    maker = _MAKERS.get(implementer, f"maker {implementer:#04x}")
    return f"{maker} {_PARTS.get((implementer, part), f'part {part:#05x}')}"


def _number(text: str | None) -> int | None:
    try:
        return int(text or "", 16)
    except ValueError:
        return None
