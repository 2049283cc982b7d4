"""A graph's figures on this device: the preflight of what is not a release, and never becomes one here."""

from collections.abc import Callable
from pathlib import Path

from edge_agent.errors import DoesNotFitError
from edge_agent.hardware import Hardware
from edge_agent.preflight import Limits, PreflightReport, prove
from edge_agent.releases import read_release
from edge_agent.session_plan import SessionPlan
from edge_agent.settings import Settings
from protocols.errors import GenbaError
from protocols.manifest import Manifest
from protocols.measuring import DeviceFigures


class MeasuringBench:
    """Examines graphs in a child, within the limits of agent.toml.

    Args:
        make_plan: how a release of this manifest would be served here without tuning.
    """

    def __init__(self, hardware: Hardware, settings: Settings, make_plan: Callable[[Manifest], SessionPlan]) -> None:
        self._hardware, self._settings, self._make_plan = hardware, settings, make_plan

    def examine(self, folder: Path, seconds: float, cancelled: Callable[[], bool]) -> DeviceFigures:
        """Return the figures of the graph in a folder, or why there are none; whatever it does, this device lives.

        Args:
            seconds: longest that it may take; agent.toml may allow less.
        """
        try:
            manifest = read_release(folder)
            self._hardware.check_fit(manifest, allow_fallback=False)
            plan = self._make_plan(manifest)
        except DoesNotFitError as error:
            return self.refusal(str(error).replace(f"{manifest.release} ", "the graph ", 1), "fit")
        except GenbaError as error:
            return self.refusal(str(error), "files")
        memory_bytes = self._settings.preflight_bytes or self._hardware.preflight_bytes()
        limits = Limits(min(seconds, self._settings.measure_s), memory_bytes)
        report = prove(folder, plan, limits, cancelled=cancelled)
        return self._figures(report, plan, manifest.files["model.onnx"].size_bytes)

    def refusal(self, reason: str, check: str = "") -> DeviceFigures:
        """Return what is said of a graph that was not measured."""
        return DeviceFigures(
            device=self._settings.device, profile=self._settings.profile, outcome="refused", reason=reason, check=check
        )

    def _figures(self, report: PreflightReport, plan: SessionPlan, size_bytes: int) -> DeviceFigures:
        if not report.passed:
            return self.refusal(report.reason or "it did not pass", report.check or "")
        facts = self._hardware.facts
        return DeviceFigures(
            device=self._settings.device,
            profile=self._settings.profile,
            outcome="measured",
            provider=report.provider or "",
            asked=report.asked or "",
            placement=report.placement,
            latency_p50_ms=report.latency_p50_ms,
            latency_p99_ms=report.latency_p99_ms,
            memory_bytes=report.memory_bytes,
            size_bytes=size_bytes,
            load_s=report.load_s,
            rows=report.rows,
            largest_difference=report.largest_difference,
            threads=plan.threads,
            onnxruntime=report.onnxruntime,
            machine=str(facts.get("board") or facts.get("cpu") or ""),
        )
