"""Infer requests to answers: by the release that serves the model at that instant, on cores that streams use as well.

A small request for a quick model is answered in the endpoint's own thread; all else goes to the workers.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from edge_agent.batch_costs import BatchCosts
from edge_agent.endpoint.answers import answer, wanted_outputs
from edge_agent.endpoint.exchange import Reply, Request, Response, refusal
from edge_agent.endpoint.intake import Batch, Intake
from edge_agent.endpoint.tensors import InferCall, read_call
from edge_agent.endpoint.workers import MOST_AT_ONCE, Workers
from edge_agent.errors import CallRefusedError, ModelRunError
from edge_agent.inference import Model
from edge_agent.lane import QUICK_S
from edge_agent.streams import StreamEngine
from edge_agent.tally import CallTally

log = logging.getLogger(__name__)

#: A larger body is read by the workers.
SMALL_BYTES = 16 * 1024


@dataclass(slots=True)
class Served:
    """A release that serves, and what is known of calling it."""

    model: Model
    intake: Intake
    costs: BatchCosts = field(default_factory=BatchCosts)


@dataclass(slots=True)
class _Outcome:
    """What a call came to; `took_s` is what the model took, None where it did not run."""

    response: Response
    batch: Batch | None = None
    took_s: float | None = None


class Calls:
    """Answers infer requests. All but `_work` happens in the endpoint's thread.

    Args:
        in_thread: has something called in the endpoint's thread.
    """

    def __init__(
        self,
        engine: StreamEngine,
        in_thread: Callable[[Callable[[], None]], None],
        ticks: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._engine, self._in_thread, self._ticks = engine, in_thread, ticks
        self._served: dict[str, Served] = {}
        self._workers = Workers()
        #: By model, for as long as the agent runs.
        self.tallies: dict[str, CallTally] = {}

    def stop(self) -> None:
        self._workers.stop()

    @property
    def waiting(self) -> int:
        """Calls that the workers have."""
        return self._workers.busy

    def model(self, name: str, version: str | None) -> Model:
        """Return what serves a model now.

        Raises:
            CallRefusedError: nothing does, or another version.
        """
        servers = self._engine.servers()
        if name not in servers:
            raise CallRefusedError(404, f"there is no model {name[:100]!r} on this device")
        server = servers[name]
        if server is None or server.halted:
            raise CallRefusedError(503, f"no release of {name} serves now; `genba agent status` says why")
        if version is not None and version != str(server.ref.version):
            raise CallRefusedError(404, f"{server.ref} serves, and not version {version[:20]!r}")
        return server.model

    def infer(self, name: str, version: str | None, request: Request, reply: Reply) -> None:
        """Answer one infer request, at once or later."""
        began = self._ticks()
        served = self._known(self.model(name, version))
        tally = self.tallies.setdefault(name, CallTally())
        done = partial(self._done, served, tally, began, reply)
        call: tuple[InferCall, Batch] | None = None
        if len(request.body) <= SMALL_BYTES:
            try:
                call = _read(served, request)
            except CallRefusedError as error:
                done(_Outcome(refusal(error.status, str(error))))
                return
            threads = served.model.plan.threads
            if served.costs.within(call[1].rows, QUICK_S) and self._engine.gate.enter_at_once(threads):
                try:
                    outcome = self._predict(served, *call)
                finally:
                    self._engine.gate.leave(threads)
                done(outcome)
                return
        if not self._workers.submit(partial(self._work, served, request, call, done)):
            reply(refusal(503, f"{MOST_AT_ONCE} calls are waiting or at work already; try again"))

    def _known(self, model: Model) -> Served:
        served = self._served.get(model.manifest.model)
        if served is None or served.model is not model:
            served = self._served[model.manifest.model] = Served(model, Intake(model.manifest.graph_inputs))
        return served

    def forget(self) -> None:
        """Let go of releases that serve no more, so that their memory is given back."""
        servers = self._engine.servers()
        for name, served in list(self._served.items()):
            server = servers.get(name)
            if server is None or server.model is not served.model:
                del self._served[name]

    def _work(
        self,
        served: Served,
        request: Request,
        call: tuple[InferCall, Batch] | None,
        done: Callable[[_Outcome], None],
    ) -> None:
        """Do a call in a worker's thread."""
        try:
            outcome = self._predict_between(served, *(call or _read(served, request)))
        except CallRefusedError as error:
            outcome = _Outcome(refusal(error.status, str(error)))
        except Exception:  # one call's end is not the worker's
            log.exception("a call over HTTP failed in an unforeseen way")
            outcome = _Outcome(refusal(500, "the call failed in an unforeseen way; the agent's log says more"))
        self._in_thread(partial(done, outcome))

    def _predict_between(self, served: Served, call: InferCall, batch: Batch) -> _Outcome:
        threads = served.model.plan.threads
        self._engine.gate.enter(threads)
        try:
            return self._predict(served, call, batch)
        finally:
            self._engine.gate.leave(threads)

    def _predict(self, served: Served, call: InferCall, batch: Batch) -> _Outcome:
        model = served.model
        try:
            wanted = wanted_outputs(model.manifest, call)
            began = self._ticks()
            outputs = model.run(batch.columns)
            took_s = self._ticks() - began
        except CallRefusedError as error:
            return _Outcome(refusal(error.status, str(error)))
        except ModelRunError as error:
            return _Outcome(refusal(500, str(error)), batch)
        return _Outcome(answer(model.manifest, call, outputs, wanted), batch, took_s)

    def _done(self, served: Served, tally: CallTally, began: float, reply: Reply, outcome: _Outcome) -> None:
        """Count a call, and reply."""
        tally.calls += 1
        batch = outcome.batch
        if batch is not None and outcome.took_s is not None:
            served.costs.learn(batch.rows, outcome.took_s)
            tally.rows += batch.rows
            tally.missing += batch.missing
            tally.outside += batch.outside
            tally.durations.add(self._ticks() - began)
        elif outcome.response.status < 500:
            tally.refused += 1
        else:
            tally.failed += 1
        reply(outcome.response)


def _read(served: Served, request: Request) -> tuple[InferCall, Batch]:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise CallRefusedError(
            415, f"Content-Encoding is {encoding[:20]!r}; within one machine, send the body as it is"
        )
    call, binary = read_call(request.body, request.headers.get("inference-header-content-length"))
    return call, served.intake.read(call, binary)
