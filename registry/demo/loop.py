"""The steps of the demo, in order: each does one thing, waits until it really holds, and says what it means."""

import io
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from datetime import time as time_of_day
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import pandas as pd
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console

from protocols.errors import GenbaError
from protocols.payloads import quote_name
from protocols.topics import PREFIX
from registry.client.rest import RegistryClient
from registry.demo.line import Answer, Line, Phase, Reading, error_of
from registry.demo.operator import Processes, StepError, run_command, wait_for
from registry.demo.plant import Plant
from registry.demo.report import DemoReport, ErrorReport, ReleaseReport

SITE = "demo-plant"
#: Two agents share this machine with all else, so they are tuned for show.
TUNE_S = 2
#: Station -> the profile that its agent is enrolled with.
STATIONS = {"line-1": "x86", "line-2": "raspberry-pi-4"}
WINDOW_S = 3.0
RATE_HZ = 60.0
#: A rollout waits this long before it trusts a new release for good.
CONFIRM_S = 5.0
#: The historian knows the truth of this many readings at a time.
LABEL_BATCH = 120
BUDGET_S = 8.0


class Loop:
    """One run of the demo over one plant. `run` fills `report`, whatever happens."""

    def __init__(self, plant: Plant, home: Path, console: Console, seed: int = 7) -> None:
        self.plant = plant
        self.report = DemoReport(ErrorReport("log loss" if plant.classification else "RMSE"))
        self._home = home
        self._console = console
        self._seed = seed
        self._processes = Processes(home / "logs")
        self._model = plant.name
        self._rest = RegistryClient("http://127.0.0.1:1")
        self._broker_url = ""
        self._line: Line | None = None
        self._historian: Historian | None = None
        self._meter: TelemetryMeter | None = None
        self._random = random.Random(seed)

    def run(self) -> None:
        """Run every step.

        Raises:
            StepError, GenbaError: a step did not hold; `report.failed` says which.
        """
        began = time.monotonic()
        steps: list[tuple[str, Callable[[], None]]] = [
            ("registry up", self._start_registry),
            ("trained, proven, signed", self._train),
            ("enrolled", self._enrol),
            ("delivered, proven again", self._assign),
            ("live", self._go_live),
            ("drift seen", self._drift),
            ("retrained, challenged", self._retrain),
            ("swapped", self._swap),
            ("new model live", self._after),
        ]
        for name, step in steps:
            with self._timed(name):
                step()
        self._settle()
        self.report.seconds["all"] = round(time.monotonic() - began, 1)

    def stop(self) -> None:
        """End everything that was started."""
        for part in (self._historian, self._line, self._meter):
            if part is not None:
                part.stop()
        self._processes.stop()

    def keep_feeding(self) -> None:
        """Keep the line busy for `--keep`, until the caller is interrupted."""
        while True:
            self._feed("after", self.plant.after)
            while not self._live_line.idle:
                self._processes.check()
                time.sleep(0.5)

    # The steps

    def _start_registry(self) -> None:
        self._say("A registry starts on this machine: catalogue, signing keys, web pages, MQTT service, job worker,")
        self._say("and, as no broker was named, one of its own on the loopback interface.")
        token_file = self._home / "api-token"
        run_command("registry", "init", "--home", str(self._registry_home), "--token-file", str(token_file))
        self._processes.start("registry", "registry", "serve", "--home", str(self._registry_home), "--port", "0")
        serve = wait_for("the registry to come up", 40, self._serve_file, self._processes.check)
        self._rest = RegistryClient(serve["url"], token_file.read_text().strip())
        self._broker_url = serve["broker_url"]
        self.report.address = f"{serve['url']}/models/{self._model}"
        self._meter = TelemetryMeter(self._broker_url)
        self._note(f"pages: {serve['url']}   broker: {self._broker_url}")

    def _train(self) -> None:
        plant = self.plant
        self._say(f"{plant.source}, in the order of {plant.ordered_by!r}: the model learns from the low half of it,")
        self._say(
            "and will meet the high half later. A job checks the data, searches, exports to ONNX, and proves that"
        )
        self._say("the ONNX file computes what the fitted model computes. No proof, no release.")
        buffer = io.BytesIO()
        plant.history.to_csv(buffer, index=False)
        dataset = self._rest.call(
            "POST", f"/datasets?name={self._model}.csv", buffer.getvalue(), content_type="text/csv"
        )
        policy = {
            "enabled": True,
            "windows_in_a_row": 2,
            "drifted_features": 1,
            "min_labelled_rows": min(600, (len(plant.before) + len(plant.drifted)) // 2),
            "budget_s": BUDGET_S,
            "cooldown_s": 3600.0,
        }
        job = self._rest.send(
            "POST",
            "/jobs",
            {
                "kind": "train",
                "model": self._model,
                "dataset": dataset["sha256"],
                "target": plant.target,
                "task": "classification" if plant.classification else "regression",
                "budget_s": BUDGET_S,
                "seed": self._seed,
            },
        )
        self._follow_job(job["id"])
        self._rest.send("PUT", f"/models/{self._model}/policy", policy)
        self._tell_release(1)

    def _enrol(self) -> None:
        self._say("Two devices enrol, each with a one-time token. The key pair is made on the device and stays there.")
        for station, profile in STATIONS.items():
            token = self._rest.send("POST", "/devices/tokens", {"device": station, "site": SITE})["token"]
            run_command(
                *("agent", "enrol", "--registry", self._rest.url, "--token", token, "--device", station),
                *("--site", SITE, "--profile", profile, "--home", str(self._home / station)),
            )
            with (self._home / station / "agent.toml").open("a") as settings:
                settings.write(f"tune_s = {TUNE_S}\n")
            self._processes.start(f"agent-{station}", "agent", "run", "--home", str(self._home / station))
            self._note(f"{station}: profile {profile}")

    def _assign(self) -> None:
        self._say(
            "The release is assigned. Each agent asks both repositories, fetches block by block over MQTT, checks"
        )
        self._say(
            "every digest, then loads the model in a child process and runs the golden vectors on its own hardware."
        )
        features = [column for column in self.plant.history.columns if column != self.plant.target]
        manifest = self._release(1)
        inputs = {spec["name"]: quote_name(spec["name"]) for spec in manifest["inputs"] if spec["name"] in features}
        for station in STATIONS:
            stream = {
                "name": "main",
                "model": self._model,
                "topic": f"plant/{station}/sensors",
                "output_topic": f"plant/{station}/predictions",
                "inputs": inputs,
                "key": "key",
            }
            assignment = {
                "releases": [{"model": self._model, "version": 1}],
                "streams": [stream],
                "window_s": WINDOW_S,
                "confirm_s": CONFIRM_S,
            }
            self._rest.send("PUT", f"/devices/{station}/assignment", assignment)
        for station in STATIONS:
            provider = wait_for(
                f"{station} to serve {self._model}@1", 60, partial(self._serving, station, 1), self._processes.check
            )
            self._note(f"{station}: serves {self._model}@1 on {provider}")

    def _go_live(self) -> None:
        self._say(f"Both lines run: {RATE_HZ:.0f} readings a second each, from days like those that it learned from.")
        self._line = Line(self._broker_url, list(STATIONS), RATE_HZ)
        self._line.start()
        self._historian = Historian(self._line, self._rest, self.plant, self._model)
        self._historian.start()
        self._feed("before", self.plant.before, seconds=3.2 * WINDOW_S)
        self._drain("the readings of the past")
        self._note(f"{self._error_text('before')}, live")

    def _drift(self) -> None:
        self._say(f"Now {self.plant.ordered_by!r} moves to the other half. No row leaves the device: the registry sees")
        self._say("sketches of each window only, and compares them with the sketches of the training data.")
        self._feed("drifted", self.plant.drifted, cycle=True)
        path = f"/models/{self._model}/drift-reports"
        report = wait_for("drift in the sketches", 40, lambda: self._drifted(path), self._check_live)
        drifted = [feature for feature in report["features"] if feature["drifted"]]
        worst = max(drifted, key=lambda feature: feature["psi"] or 0)
        self._note(f"{len(drifted)} of {len(report['features'])} sensors drifted, most of all {worst['feature']!r}")
        self._note(f"its population stability index is {worst['psi']:.2f}; above 0.2 counts as drift")

    def _retrain(self) -> None:
        self._say("The policy turns the drift into a job: train again with the newest labelled rows, which the line's")
        self._say("historian delivers, and let the challenger beat the champion on rows that neither has seen.")
        job = wait_for("the policy to order a retraining", 40, lambda: self._job("retrain"), self._check_live)
        result = self._follow_job(job["id"])
        if not result.get("release"):
            raise StepError(f"the challenger did not beat the champion: {result}")
        self._note(
            f"champion {result['champion']:.3f}, challenger {result['challenger']:.3f} "
            f"({result['metric']} on {result['holdout_rows']} unseen rows): the challenger is released"
        )
        self._tell_release(2)

    def _swap(self) -> None:
        self._say("The new release goes the same way, to every device that ran the old one; the lines do not stop.")
        line = self._live_line
        for station in STATIONS:
            wait_for(
                f"{station} to answer with {self._model}@2",
                60,
                partial(answered, line, station, 2),
                self._check_live,
            )
            self._note(f"{station}: the first prediction by {self._model}@2 is here")

    def _after(self) -> None:
        self._say("The lines go on with rows that nobody has seen, under the new conditions.")
        self._live_line.clear()
        self._feed("after", self.plant.after, seconds=2.5 * WINDOW_S)
        self._drain("the last readings")
        self._note(f"{self._error_text('drifted')} before the swap, {self._error_text('after')} after it")

    def _settle(self) -> None:
        line, report = self._live_line, self.report
        line.wait_answered(15)
        with line.lock:
            report.served_predictions = len(line.ledger.answers)
            report.lost_predictions = len(line.ledger.open)
            report.raw_bytes = line.ledger.raw_bytes
        report.telemetry_bytes = self._meter.total if self._meter else 0
        report.error.before = self._error("before")
        report.error.drifted = self._error("drifted")
        report.error.after = self._error("after")
        report.releases = [self._release_report(version) for version in (1, 2)]
        self._judge()

    def _judge(self) -> None:
        report = self.report
        if report.lost_predictions:
            report.failed.append(f"{report.lost_predictions} predictions were lost")
        if report.error.drifted is None or report.error.after is None or report.error.after >= report.error.drifted:
            report.failed.append("the new model is no better under the new conditions")
        if len({release.digest for release in report.releases}) != 2:
            report.failed.append("the two releases have one digest")
        report.closed = not report.failed

    # Looking and waiting

    @property
    def _registry_home(self) -> Path:
        return self._home / "registry"

    @property
    def _live_line(self) -> Line:
        if self._line is None:
            raise StepError("the line has not started")
        return self._line

    def _check_live(self) -> None:
        self._processes.check()
        if self._historian is not None and self._historian.failure is not None:
            raise self._historian.failure

    def _serve_file(self) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = msgspec.json.decode((self._registry_home / "run" / "serve.json").read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return content

    def _serving(self, station: str, version: int) -> str | None:
        status = self._rest.get(f"/devices/{station}").get("status") or {}
        for refused in status.get("releases", ()):
            if refused["state"] == "refused" and refused["version"] == version:
                raise StepError(f"{station} refused {self._model}@{version}: {refused.get('reason')}")
        for stream in status.get("streams", ()):
            if stream["version"] == version:
                return str(stream["provider"])
        return None

    def _drifted(self, path: str) -> dict[str, Any] | None:
        reports = self._rest.get(path)
        return next((report for report in reports if report["drifted"]), None)

    def _job(self, kind: str) -> dict[str, Any] | None:
        return next((job for job in self._rest.get("/jobs") if job["kind"] == kind), None)

    def _follow_job(self, number: int) -> dict[str, Any]:
        said = ""

        def look() -> dict[str, Any] | None:
            nonlocal said
            job: dict[str, Any] = self._rest.get(f"/jobs/{number}")
            if (job.get("text") or "") not in ("", said):
                said = job["text"]
                self._note(said)
            if job["state"] == "failed":
                raise StepError(f"job {number} ({job['kind']}): {job.get('error')}")
            return job if job["state"] == "done" else None

        return wait_for(f"job {number}", BUDGET_S * 3 + 60, look, self._check_live).get("result") or {}

    def _release(self, version: int) -> dict[str, Any]:
        manifest: dict[str, Any] = self._rest.get(f"/models/{self._model}/releases/{version}")
        return manifest

    def _release_report(self, version: int) -> ReleaseReport:
        return ReleaseReport(self._model, version, self._release(version)["files"]["model.onnx"]["sha256"])

    def _tell_release(self, version: int) -> None:
        manifest = self._release(version)
        cases = manifest["parity"]["cases"]
        largest = max(case["largest_difference"] for case in cases)
        top = manifest.get("importance") or [{"feature": "-"}]
        self._note(
            f"{self._model}@{version}: {manifest['metric']} {manifest['metrics'][manifest['metric']]:.3f} "
            "on held-out rows; "
            f"parity over {sum(case['rows'] for case in cases)} rows, largest difference {largest:.1e}"
        )
        self._note(
            f"what drives it most: {top[0]['feature']!r}; {manifest['files']['model.onnx']['size_bytes']:,} bytes"
        )

    # The line's rows

    def _feed(self, phase: Phase, table: pd.DataFrame, seconds: float | None = None, cycle: bool = False) -> None:
        rows = self._readings(phase, table)
        if seconds is not None:
            wanted = int(seconds * RATE_HZ * len(STATIONS))
            rows = (rows * (wanted // len(rows) + 1))[:wanted]
        if cycle:
            rows = rows * max(1, int(90 * RATE_HZ * len(STATIONS)) // len(rows))
        self._live_line.feed(rows)

    def _readings(self, phase: Phase, table: pd.DataFrame) -> list[Reading]:
        stations = list(STATIONS)
        records = table.drop(columns=self.plant.target).to_dict("records")
        truths = table[self.plant.target].tolist()
        return [
            Reading(stations[index % len(stations)], phase, plain(record), truth)
            for index, (record, truth) in enumerate(zip(records, truths, strict=True))
        ]

    def _drain(self, what: str) -> None:
        line = self._live_line
        wait_for(what, 60, lambda: True if line.idle else None, self._check_live)
        if not line.wait_answered(15):
            raise StepError(f"{len(line.ledger.open)} readings got no answer within 15 s")

    def _answers(self, phase: Phase) -> list[Answer]:
        version = 2 if phase == "after" else 1
        with self._live_line.lock:
            answers = list(self._live_line.ledger.answers)
        return [a for a in answers if a.reading.phase == phase and a.prediction.version == version]

    def _error(self, phase: Phase) -> float | None:
        return error_of(self._answers(phase), self.plant.classification)

    def _error_text(self, phase: Phase) -> str:
        error = self._error(phase)
        return f"{self.report.error.metric} {error:.3f}" if error is not None else "no answers"

    # Telling

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        self._console.print(f"\n[bold]{len(self.report.seconds) + 1}. {name}[/]")
        began = time.monotonic()
        try:
            yield
        except Exception:
            self.report.failed.append(name)
            raise
        finally:
            self.report.seconds[name] = round(time.monotonic() - began, 1)

    def _say(self, text: str) -> None:
        self._console.print(f"   {text}", highlight=False, markup=False, soft_wrap=True)

    def _note(self, text: str) -> None:
        self._console.print(f"   → {text}", style="cyan", highlight=False, markup=False, soft_wrap=True)


class Historian:
    """The plant's historian: learns the truth of readings a little later and gives it to the registry, by REST."""

    def __init__(self, line: Line, rest: RegistryClient, plant: Plant, model: str) -> None:
        self.failure: GenbaError | None = None
        self._line, self._rest, self._plant, self._model = line, rest, plant, model
        self._told = 0
        self._labelled: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="historian", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _work(self) -> None:
        while not self._stop.wait(0.3):
            with self._line.lock:
                known = self._line.ledger.answers[self._told :]
            if len(known) < LABEL_BATCH:
                continue
            self._told += len(known)
            rows = self._new_rows(known)
            if not rows:
                continue
            try:
                self._rest.call(
                    "POST", f"/models/{self._model}/rows", b"\n".join(rows), content_type="application/x-ndjson"
                )
            except GenbaError as error:
                self.failure = error
                return

    def _new_rows(self, answers: list[Answer]) -> list[bytes]:
        """Each row of the table is labelled once, however often the line sends it: a copy would teach nothing new,
        and would stand both among what a challenger learns from and among what it is judged by."""
        rows = dict.fromkeys(
            msgspec.json.encode({**one.reading.sensors, self._plant.target: one.reading.truth}) for one in answers
        )
        new = [row for row in rows if row not in self._labelled]
        self._labelled.update(new)
        return new


class TelemetryMeter:
    """Weighs what the devices report, by listening on the broker."""

    def __init__(self, broker_url: str) -> None:
        self.total = 0
        host, _, port = broker_url.rpartition("/")[2].partition(":")
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"meter-{secrets.token_hex(4)}")
        self._client.on_connect = lambda client, *_: client.subscribe(f"{PREFIX}/+/+/up/telemetry")
        self._client.on_message = self._weigh
        self._client.connect(host, int(port))
        self._client.loop_start()

    def _weigh(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        self.total += len(message.payload)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def answered(line: Line, station: str, version: int) -> bool | None:
    """True once `station` has answered with `version`; None before."""
    with line.lock:
        for answer in reversed(line.ledger.answers):
            if answer.reading.station == station and answer.prediction.version == version:
                return True
    return None


def plain(record: dict[Any, Any]) -> dict[str, Any]:
    """Return a table's row as JSON carries it: missing is null, a point in time is ISO 8601 text."""
    return {str(name): _scalar(value) for name, value in record.items()}


def _scalar(value: Any) -> Any:
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value):
        return None
    return value.isoformat() if isinstance(value, date | time_of_day) else value
