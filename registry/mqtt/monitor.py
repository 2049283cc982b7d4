"""The monitor: when a release's windows have come in, it judges them and applies the policy."""

import logging
from collections.abc import Callable

from protocols.errors import SketchError
from protocols.names import ReleaseRef
from protocols.reference import ReferenceProfile, decode_reference
from registry.blobs import Blobs
from registry.catalogue import Catalogue
from registry.errors import UnknownReleaseError
from registry.logs import Seldom
from registry.monitoring.decision import Retrain, Wait, decide
from registry.monitoring.merging import DeviceWindow, intervals, merge
from registry.monitoring.policy import Policy
from registry.monitoring.reports import DriftReport, judge
from registry.presence import presence

log = logging.getLogger(__name__)

#: A device's clock may run so far ahead, in seconds. Windows from further in the future are kept but not judged.
CLOCK_SLACK_S = 300.0
_KEPT_REPORTS = 200
_KEPT_PROFILES = 16


class Monitor:
    """Turns telemetry windows into drift reports, and drift into retraining jobs. For one thread.

    It keeps no state of its own: what the newest report covers is done, so a restart goes on where it was.
    """

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float]) -> None:
        self._catalogue = catalogue
        self._blobs = Blobs(catalogue.home)
        self._clock = clock
        self._profiles: dict[ReleaseRef, ReferenceProfile] = {}
        self._seldom = Seldom(clock)

    def look(self, release: ReleaseRef) -> list[DriftReport]:
        """Judge each interval of the release that is complete, and decide after each; return the new reports."""
        policy = self._catalogue.policies.get(release.model)
        made: list[DriftReport] = []
        for interval in intervals(self._pending(release), self._expected(release), policy.min_rows):
            report = self._judge(release, interval, policy)
            if report is None:
                break
            self._keep(report)
            made.append(report)
        if made:
            self._decide(release.model, policy)
        return made

    def _pending(self, release: ReleaseRef) -> list[DeviceWindow]:
        reports = self._catalogue.drift.list(release.model, _KEPT_REPORTS)
        covered = max((report.end for report in reports if report.version == release.version), default=0.0)
        until = self._clock() + CLOCK_SLACK_S
        return list(self._catalogue.telemetry.windows(release.model, release.version, covered, until))

    def _expected(self, release: ReleaseRef) -> set[str]:
        """Return the devices that should be sending windows of the release now."""
        devices, now = {device.name: device for device in self._catalogue.devices.list()}, self._clock()
        return {
            assignment.device
            for assignment in self._catalogue.assignments.running(release.model)
            if assignment.device in devices
            and presence(devices[assignment.device], assignment, now) == "online"
            and any(assigned.ref == release for assigned in assignment.releases)
            and any(stream.model == release.model for stream in assignment.streams)
        }

    def _judge(self, release: ReleaseRef, windows: list[DeviceWindow], policy: Policy) -> DriftReport | None:
        try:
            merged = merge(windows)
            if merged.unreadable and self._seldom.due(f"unreadable {release}"):
                log.warning("windows with unreadable sketches were left out", extra={"windows": merged.unreadable})
            return judge(release, self._profile(release), merged, policy)
        except (UnknownReleaseError, SketchError, FileNotFoundError, KeyError) as error:
            if self._seldom.due(str(release)):
                log.warning("windows of %s cannot be judged: %s", release, error)
            return None

    def _profile(self, release: ReleaseRef) -> ReferenceProfile:
        profile = self._profiles.get(release)
        if profile is None:
            digest = self._catalogue.releases.get(release).files["reference"].sha256
            profile = decode_reference(self._blobs.path(digest).read_bytes())
            while len(self._profiles) >= _KEPT_PROFILES:
                del self._profiles[next(iter(self._profiles))]
            self._profiles[release] = profile
        return profile

    def _keep(self, report: DriftReport) -> None:
        before = next((old for old in self._catalogue.drift.list(report.model, 1)), None)
        self._catalogue.drift.add(report)
        moved = [feature for feature in report.features if feature.drifted]
        log.info(
            "drift report",
            extra={"release": f"{report.model}@{report.version}", "rows": report.rows, "drifted": report.drifted},
        )
        if report.drifted and (before is None or before.version != report.version or not before.drifted):
            self._catalogue.events.record(
                "drift",
                f"{report.model}@{report.version}: " + "; ".join(f"{f.feature}: {f.reason}" for f in moved[:4]),
                level="warning",
                model=report.model,
                version=report.version,
                detail={"features": [feature.feature for feature in moved], "devices": list(report.devices)},
            )

    def _decide(self, model: str, policy: Policy) -> None:
        champion = self._catalogue.models.champion(model)
        fed = champion is not None and self._catalogue.releases.get(champion).manifest.fed
        with self._catalogue.transaction():
            last = next(iter(self._catalogue.jobs.list(kind="retrain", model=model, limit=1)), None)
            if last is not None and last.state in ("waiting", "running"):
                return
            rows = self._catalogue.rows.count(model)
            decision: Retrain | Wait = decide(
                policy,
                self._catalogue.drift.list(model, _KEPT_REPORTS),
                champion=None if champion is None else champion.version,
                labelled_rows=rows - self._used_rows(model),
                last_retraining_at=None if last is None else last.finished_at or last.created_at,
                now=self._clock(),
                fed=fed,
            )
            if isinstance(decision, Wait):
                log.info("no retraining: %s", decision.reason, extra={"model": model})
                return
            parameters = {"model": model, "budget_s": policy.budget_s, "labelled_rows": rows}
            job = self._catalogue.jobs.add("retrain", parameters, decision.reason)
            self._catalogue.events.record(
                "retrain", f"{model}: job {job}, because {decision.reason}", model=model, detail={"job": job}
            )
        log.info("retraining: %s", decision.reason, extra={"model": model, "job": job})

    def _used_rows(self, model: str) -> int:
        """Return how many of the labelled rows the last retraining that came to an end had: they hold no news."""
        done = next(iter(self._catalogue.jobs.list(kind="retrain", model=model, state="done", limit=1)), None)
        return int(done.parameters.get("labelled_rows", 0)) if done is not None else 0
