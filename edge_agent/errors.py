"""Every error that the agent raises; each reads as one line with the way out.

AgentError
├── HomeError           the agent's folder is missing, damaged or in use        (operator)
├── EnrolmentError      the registry did not take this device                   (operator)
├── RegistryCallError   the registry cannot be asked, or refuses                (operator)
├── RenewalError        a certificate that is not the one asked for             (registry)
├── LinkError           the device's TLS identity cannot be used                (operator)
├── TransferError       something could not be fetched now; a later try may     (network)
│   └── ResourceFinalError  the registry does not have it (404, 410)            (publisher)
├── TrustError          signed metadata is refused for now (expired, unsigned)  (publisher or attacker)
├── ReleaseRefusedError a release that must not run on this device              (publisher)
│   ├── DoesNotFitError     this device cannot serve it, as its manifest tells  (operator)
│   ├── ReleaseDamagedError its files are not those that were signed            (publisher or disk)
│   └── ModelLoadError      ONNX Runtime cannot load or run it here             (publisher or device)
│       └── FallbackError       another provider than the wanted one would run it   (device)
├── EngineMissingError  what a provider compiled is not for this device as it is now (device)
├── ModelRunError       ONNX Runtime fails on a batch                           (publisher)
├── BundleNotInstalledError a bundle that is not for this device, or finds no room  (operator)
├── EndpointError       the HTTP endpoint's port cannot be had                  (operator)
├── CallRefusedError    an HTTP request that cannot be answered                 (caller)
└── ScoreError          a file that cannot be scored                            (caller)
    └── ResultNotWrittenError   there is no room for the result, or no right to it  (caller)
"""

from protocols.errors import GenbaError


class AgentError(GenbaError):
    """Root of all errors raised by `edge_agent`."""


class HomeError(AgentError):
    """The agent's folder is missing, damaged or in use."""


class EnrolmentError(AgentError):
    """The registry did not take this device, or the device did not take the registry."""


class RegistryCallError(AgentError):
    """The registry does not answer over HTTPS, or with a refusal: `said` is its own line, `status` HTTP's or 0."""

    def __init__(self, text: str, status: int = 0, said: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.said = said


class RenewalError(AgentError):
    """A certificate is not the one that was asked for."""


class LinkError(AgentError):
    """The broker's address cannot be used as it is written."""


class TransferError(AgentError):
    """A resource could not be fetched now; the message names it."""

    def __init__(self, resource: str, reason: str) -> None:
        super().__init__(f"{resource}: {reason}")
        self.resource = resource
        self.reason = reason


class ResourceFinalError(TransferError):
    """The registry says that it does not have the resource; asking again does not help."""

    def __init__(self, resource: str, status: int, reason: str) -> None:
        super().__init__(resource, f"{status}: {reason}")
        self.status = status


class TrustError(AgentError):
    """Signed metadata is refused; nothing new is installed until it is in order."""


class ReleaseRefusedError(AgentError):
    """A release must not run on this device."""


class DoesNotFitError(ReleaseRefusedError):
    """A release asks for what this device does not have; the text gives every reason."""


class ReleaseDamagedError(ReleaseRefusedError):
    """A release's files are not those that its manifest or the signed metadata describe."""


class ModelLoadError(ReleaseRefusedError):
    """ONNX Runtime cannot load the model here, or the graph is not what the manifest says."""


class FallbackError(ModelLoadError):
    """Another provider than the wanted one would run the model. `placement`: provider -> nodes."""

    def __init__(self, text: str, wanted: str, ran: str, placement: dict[str, int]) -> None:
        super().__init__(text)
        self.wanted = wanted
        self.ran = ran
        self.placement = placement


class EngineMissingError(AgentError):
    """A release was proven with an engine that is not there any more, or was made for another driver or runtime."""


class ModelRunError(AgentError):
    """ONNX Runtime fails on a batch that it was given."""


class BundleNotInstalledError(AgentError):
    """A bundle is for another device, or finds no room; nothing was changed."""


class EndpointError(AgentError):
    """The HTTP endpoint's port cannot be had."""


class CallRefusedError(AgentError):
    """An HTTP request that cannot be answered; `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ScoreError(AgentError):
    """An input file that cannot be scored."""


class ResultNotWrittenError(ScoreError):
    """A result cannot be written where it is wanted."""
