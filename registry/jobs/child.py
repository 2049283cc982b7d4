"""A job's process, `python -m registry.jobs.child --home DIR --job ID`: the only importer of the trainer.

It reports on its standard output (see `registry.jobs.report`); what libraries print goes to standard error.
"""

import argparse
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from protocols.errors import GenbaError
from protocols.manifest import Manifest, encode_manifest
from protocols.names import ReleaseRef
from protocols.wishes import TrainingWishes, wishes_of
from registry.blobs import Blobs
from registry.catalogue import Catalogue
from registry.catalogue.jobs import Job
from registry.errors import RequestRefusedError
from registry.jobs import frames, retraining
from registry.jobs.report import Failure, Progress, Result, encode_report, job_folder
from registry.logs import start_logs
from registry.processes import die_with_parent
from registry.promotion import crown, note, spread, waiting_folder
from registry.publication import publish
from registry.signing.metadata import write_atomic
from trainer.candidate import file_info, read_candidate
from trainer.challenge import evaluate
from trainer.columns import Column
from trainer.graphs import followed_output, open_graph, run_graph, to_feed
from trainer.reference_profile import reference_bytes
from trainer.request import TrainRequest, wished
from trainer.tables import read_table
from trainer.train import train

log = logging.getLogger("registry.jobs")

#: Newest labelled rows that a retraining looks at.
NEWEST_ROWS = 50_000
_NICENESS = 5

Report = Callable[[str, float], None]


def _clear(folder: Path) -> None:
    """Take away what a job that was killed has left, but for its trials: the trainer goes on from them."""
    for entry in folder.iterdir():
        if entry.name == "candidate.search":
            continue
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _wishes(manifest: Manifest, table: Any) -> TrainingWishes:
    """What was wished of the champion, as far as it can be for these rows, on this machine.

    The rows have its inputs and its target alone, and their order is not one of time. Latency and memory were judged
    elsewhere: the release carries its latency limit to the device, whose preflight judges it.
    """
    inputs = tuple(spec.name for spec in manifest.inputs)
    wishes = wishes_of(manifest)
    two = table[manifest.target].dropna().nunique() == 2
    return msgspec.structs.replace(
        wishes,
        keep=inputs,
        drop=(),
        group=wishes.group if wishes.group in inputs else None,
        validate="random" if wishes.validate == "random" else None,
        false_alarm_cost=wishes.false_alarm_cost if two else None,
        miss_cost=wishes.miss_cost if two else None,
        positive=wishes.positive if two else None,
        max_latency_ms=None,
        max_memory_bytes=None,
        fairness=tuple(name for name in wishes.fairness if name in inputs),
        trials=None,
    )


class Task:
    """One job at work. `seconds` says how long each step took."""

    def __init__(self, home: Path, job: Job, report: Report, clock: Callable[[], float] = time.time) -> None:
        self._home, self._job, self._report, self._clock = home, job, report, clock
        self._catalogue = Catalogue.open(home, clock)
        self.folder = job_folder(home, job.id)
        self._name = f"job {job.id}"
        self.seconds: dict[str, float] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        _clear(self.folder)

    def run(self) -> dict[str, Any]:
        """Do the job and return its result.

        Raises:
            GenbaError: it cannot be done; the text says why.
        """
        kinds: Mapping[str, Callable[[], dict[str, Any]]] = {"train": self._train, "retrain": self._retrain}
        if self._job.kind not in kinds:
            raise RequestRefusedError("kind", f"{self._job.kind!r} is not one of {', '.join(kinds)}")
        began = time.monotonic()
        result = self._resume() or kinds[self._job.kind]()
        self.seconds["all"] = round(time.monotonic() - began, 2)
        return {**result, "seconds": self.seconds}

    def _resume(self) -> dict[str, Any] | None:
        """Go on with a job that was cut off after it had published: it must not publish twice."""
        model = self._job.parameters.get("model")
        made = [found for found in self._catalogue.releases.list(model or "") if found.published_by == self._name]
        if not made:
            return None
        released = made[0].manifest
        result: dict[str, Any] = {
            "release": str(released.release),
            "digest": released.digest,
            "metric": released.metric,
            "challenger": released.metrics.get(released.metric),
            "champion": None,
            "holdout_rows": 0,
            "reason": "it was published before the job was cut off",
        }
        if self._job.kind != "retrain" or released.lineage.parent is None:
            return result
        champion = ReleaseRef.parse(released.lineage.parent)
        if self._catalogue.models.champion(released.model) == champion:
            self._catalogue.models.set_champion(released.release)
        auto_assign = self._catalogue.policies.get(released.model).auto_assign
        return result | self._roll_out(released, champion, assign_it=auto_assign, reason=result["reason"])

    # A first release, or another one beside the champion

    def _train(self) -> dict[str, Any]:
        given = self._job.parameters
        data = self._catalogue.datasets.describe(given["dataset"])
        wishes = msgspec.convert(given.get("wishes", {}), TrainingWishes)
        request = TrainRequest(
            table=self._dataset(data.sha256, data.name),
            target=given["target"],
            model=given["model"],
            task=given.get("task"),
            budget_s=float(given.get("budget_s", 60.0)),
            seed=int(given.get("seed", 0)),
            data_name=data.name,
            data_sha256=data.sha256,
            latency_limit_ms=wishes.max_latency_ms,
            **wished(wishes),
        )
        manifest = self._fit(request)
        with self._timed("publish", 0.95, "signing and cataloguing"):
            released = self._publish()
        return {
            "release": str(released.release),
            "digest": released.digest,
            "metric": manifest.metric,
            "challenger": manifest.metrics.get(manifest.metric),
            "champion": None,
            "holdout_rows": 0,
        }

    # A challenger

    def _retrain(self) -> dict[str, Any]:
        model = self._job.parameters["model"]
        policy = self._catalogue.policies.get(model)
        champion = self._catalogue.models.champion(model)
        if champion is None:
            raise RequestRefusedError("model", f"{model!r} has no champion to challenge; train it first")
        manifest = self._catalogue.releases.get(champion).manifest
        if manifest.fed:
            way_out = "import the better model with `genba import` and publish it"
            raise RequestRefusedError("model", f"{champion} takes windows, images or state, not rows; {way_out}")
        with self._timed("data", 0.02, "gathering the newest labelled rows"):
            newest = frames.labelled_frame(self._catalogue.rows.newest(model, NEWEST_ROWS), manifest)
            learn, unseen = retraining.hold_out(range(len(newest)), policy.holdout_share)
            if not retraining.blocks(len(unseen)):
                needed = retraining.FEWEST_BLOCKS * retraining.ROWS_PER_BLOCK
                raise retraining.TooFewRowsError(model, len(unseen), needed)
            table = frames.joined(self._original(manifest), newest.iloc[: len(learn)], manifest)
            holdout = newest.iloc[len(learn) :].reset_index(drop=True)
            request = self._request(table, manifest, champion)
        self._fit(request)
        with self._timed("compare", 0.9, f"champion against challenger on {len(holdout)} unseen rows"):
            comparison = self._compare(champion, manifest, holdout, policy.margin)
        result = {
            "release": None,
            "digest": None,
            "metric": comparison.metric,
            "challenger": comparison.challenger,
            "champion": comparison.champion,
            "holdout_rows": comparison.rows,
            "reason": comparison.reason,
        }
        if not comparison.better:
            return result | self._keep(champion, comparison.reason)
        self._rebase(holdout)
        if not policy.auto_release:
            kept = waiting_folder(self._home, self._job.id)
            kept.parent.mkdir(exist_ok=True)
            shutil.rmtree(kept, ignore_errors=True)
            shutil.move(self.folder / "candidate", kept)
            way_on = f"it waits for a person: `genba publish --job {self._job.id}` releases it"
            return result | self._keep(champion, f"{comparison.reason}; {way_on}")
        return result | self._release(champion, assign_it=policy.auto_assign, reason=comparison.reason)

    def _request(self, table: Any, manifest: Manifest, champion: ReleaseRef) -> TrainRequest:
        """The table becomes a dataset of its own, so that the challenger's lineage leads to its very bytes."""
        name = f"{manifest.model}-job-{self._job.id}.csv"
        sha256 = self._catalogue.datasets.add(name, table.to_csv(index=False).encode())
        return TrainRequest(
            table=self._dataset(sha256, name),
            target=manifest.target,
            model=manifest.model,
            task=manifest.task,
            budget_s=float(self._job.parameters.get("budget_s", manifest.lineage.budget_s)),
            seed=int(self._job.parameters.get("seed", manifest.lineage.seed)),
            data_name=name,
            data_sha256=sha256,
            parent=str(champion),
            latency_limit_ms=manifest.latency_limit_ms,
            **wished(_wishes(manifest, table)),
        )

    def _original(self, manifest: Manifest) -> Any:
        """Return the table of the first release in the line of parents, or None where the registry lacks it.

        Not the champion's own table: where that came from a retraining, it holds labelled rows already.
        """
        seen = set()
        while manifest.lineage.parent and manifest.lineage.parent not in seen:
            seen.add(manifest.lineage.parent)
            manifest = self._catalogue.releases.get(ReleaseRef.parse(manifest.lineage.parent)).manifest
        known = {data.sha256: data.name for data in self._catalogue.datasets.list()}
        sha256 = manifest.lineage.data_sha256
        return read_table(self._dataset(sha256, known[sha256])) if sha256 in known else None

    def _compare(self, champion: ReleaseRef, manifest: Manifest, holdout: Any, margin: float) -> retraining.Comparison:
        pieces = retraining.blocks(len(holdout))

        def measure(folder: Path) -> tuple[float, list[float]]:
            every = float(evaluate(folder, holdout)["value"])
            return every, [float(evaluate(folder, holdout.iloc[piece])["value"]) for piece in pieces]

        before, after = measure(self._unpack(champion)), measure(self.folder / "candidate")
        return retraining.compare(manifest.metric, before, after, len(holdout), margin)

    def _rebase(self, newest: Any) -> None:
        """Make the newest rows the candidate's reference: they are the conditions that it was chosen for.

        Its table also holds all that was before. Measured against both, a line that stays under the new conditions
        would count as drifted for ever.
        """
        folder = self.folder / "candidate"
        manifest = read_candidate(folder)
        features = frames.columns(newest, manifest)
        inputs = [Column(name, kind, values) for name, kind, values in features]
        session = open_graph((folder / "model.onnx").read_bytes())
        output = followed_output(run_graph(session, to_feed(inputs)))
        reference = reference_bytes(inputs, output, manifest.classes)
        files = {**manifest.files, "reference": file_info(reference)}
        write_atomic(folder / "reference", reference)
        write_atomic(folder / "release.json", encode_manifest(msgspec.structs.replace(manifest, files=files)))

    def _keep(self, champion: ReleaseRef, reason: str) -> dict[str, Any]:
        self._catalogue.events.record(
            "challenger-kept-back",
            f"{champion} stays the champion: {reason}",
            model=champion.model,
            version=champion.version,
            detail={"job": self._job.id},
        )
        return {"reason": reason}

    def _release(self, champion: ReleaseRef, *, assign_it: bool, reason: str) -> dict[str, Any]:
        with self._timed("publish", 0.95, "signing and cataloguing"):
            released = crown(self._home, self._catalogue, self.folder / "candidate", champion, self._clock, self._name)
        return self._roll_out(released, champion, assign_it=assign_it, reason=reason)

    def _roll_out(self, released: Manifest, champion: ReleaseRef, *, assign_it: bool, reason: str) -> dict[str, Any]:
        with self._timed("assign", 0.98, "assigning it to the devices"):
            devices = (
                spread(self._home, self._catalogue, released.release, self._clock, self._name) if assign_it else []
            )
        note(self._catalogue, released, champion, reason, {"job": self._job.id, "devices": devices})
        return {"release": str(released.release), "digest": released.digest, "devices": devices}

    # What both kinds need

    def _fit(self, request: TrainRequest) -> Manifest:
        with self._timed("train", 0.05, "checking the data"):
            return train(request, self.folder / "candidate", lambda text, done: self._report(text, 0.05 + 0.85 * done))

    def _publish(self) -> Manifest:
        return publish(self._home, self._catalogue, self.folder / "candidate", self._clock, published_by=self._name)

    def _dataset(self, sha256: str, name: str) -> Path:
        """Return the dataset under a name that tells its format: blobs have none."""
        suffix = "".join(Path(name).suffixes[-2:]) or ".csv"
        link = self.folder / f"{sha256[:16]}{suffix}"
        if not link.exists():
            link.symlink_to(self._catalogue.datasets.get(sha256).resolve())
        return link

    def _unpack(self, release: ReleaseRef) -> Path:
        """Lay a release's files out as a folder."""
        folder = self.folder / "champion"
        folder.mkdir()
        found = self._catalogue.releases.get(release)
        (folder / "release.json").write_bytes(encode_manifest(found.manifest))
        for name, info in found.manifest.files.items():
            shutil.copyfile(Blobs(self._home).path(info.sha256), folder / name)
        return folder

    @contextmanager
    def _timed(self, step: str, fraction: float, text: str) -> Iterator[None]:
        self._report(text, fraction)
        began = time.monotonic()
        yield
        self.seconds[step] = round(time.monotonic() - began, 2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m registry.jobs.child", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--job", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(9)
    out = _private_stdout()
    start_logs(f"job-{arguments.job}")
    os.nice(_NICENESS)  # training yields to serving on a machine that does both

    def report(text: str, fraction: float) -> None:
        out.write(encode_report(Progress(text, fraction)))

    try:
        task = Task(arguments.home, Catalogue.open(arguments.home).jobs.get(arguments.job), report)
        out.write(encode_report(Result(task.run())))
    except GenbaError as error:
        out.write(encode_report(Failure(str(error))))
        return 1
    except Exception as error:  # the worker must hear of it in words
        log.exception("the job failed")
        out.write(encode_report(Failure(f"fault in Genba: {type(error).__name__}: {error}".splitlines()[0])))
        return 1
    return 0


def _private_stdout() -> BinaryIO:
    """Keep the way to the worker for reports alone: a library that prints must not garble it."""
    private = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return private


if __name__ == "__main__":
    sys.exit(main())
