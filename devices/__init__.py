"""What a device is: profiles, the probe of this machine, execution-provider choice, and does-it-fit.

One module per idea; import from the module that owns the name (`from devices.fit import fit`).
"""

__all__ = [
    "accelerators",
    "cgroups",
    "cli",
    "direct_run",
    "drivers",
    "errors",
    "fit",
    "probe",
    "processors",
    "profiles",
    "provider_options",
    "providers",
    "runtime",
]
