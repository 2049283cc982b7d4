"""Infer requests to answers: by the release that serves the model at that instant, on cores that streams use as well.

Small requests for a quick model are answered in the endpoint's own thread, those that came together as one batch; all
else goes to the workers.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from edge_agent.endpoint.answers import answer, wanted_outputs
from edge_agent.endpoint.batch import Array, Batch
from edge_agent.endpoint.exchange import Reply, Request, Response, refusal
from edge_agent.endpoint.served import Served
from edge_agent.endpoint.tensors import Asking
from edge_agent.endpoint.workers import MOST_AT_ONCE, Workers
from edge_agent.errors import CallRefusedError, ModelRunError
from edge_agent.inference import Model
from edge_agent.lane import QUICK_S
from edge_agent.streams import StreamEngine
from edge_agent.tally import CallTally

log = logging.getLogger(__name__)

#: A larger body is read by the workers.
SMALL_BYTES = 16 * 1024
#: To be counted; nobody reads it.
_UNWANTED = refusal(499, "the client waits for the answer no more")


@dataclass(slots=True)
class Call:
    """One infer request; `asking` and `batch` once it was read."""

    request: Request
    reply: Reply
    tally: CallTally
    began: float
    asking: Asking = field(init=False)
    batch: Batch | None = None

    def read(self, served: Served) -> Batch:
        """Return the batch to run; raises as `Served.read`."""
        if self.batch is None:
            self.asking, self.batch = served.read(self.request)
        return self.batch


class Calls:
    """Answers infer requests. All but `_work` and what it calls happens in the endpoint's thread.

    Args:
        in_thread: has something called in the endpoint's thread, from any.
        soon: has something called when all that has come was read.
        connections: that are open; one alone is not kept waiting for others.
    """

    def __init__(
        self,
        engine: StreamEngine,
        in_thread: Callable[[Callable[[], None]], None],
        soon: Callable[[Callable[[], None]], None],
        connections: Callable[[], int],
        ticks: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._engine, self._in_thread, self._ticks = engine, in_thread, ticks
        self._soon, self._connections = soon, connections
        self._served: dict[str, Served] = {}
        self._together: dict[Served, list[Call]] = {}
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
        server = self._engine.server(name)
        if server is None and name not in self._engine.servers():
            raise CallRefusedError(404, f"there is no model {name[:100]!r} on this device")
        if server is None or server.halted:
            raise CallRefusedError(503, f"no release of {name} serves now; `genba agent status` says why")
        if version is not None and version != str(server.ref.version):
            raise CallRefusedError(404, f"{server.ref} serves, and not version {version[:20]!r}")
        return server.model

    def infer(self, name: str, version: str | None, request: Request, reply: Reply) -> None:
        """Answer one infer request, at once or later."""
        began = self._ticks()
        served = self._known(self.model(name, version))
        tally = self.tallies.get(name)
        if tally is None:
            tally = self.tallies[name] = CallTally()
        call = Call(request, reply, tally, began)
        if len(request.body) > SMALL_BYTES:
            self._hand_over(served, call)
            return
        try:
            batch = call.read(served)
        except CallRefusedError as error:
            self._done(call, refusal(error.status, str(error)))
            return
        if not served.costs.within(batch.rows, QUICK_S):
            self._hand_over(served, call)
        elif served.joins and self._connections() > 1:
            self._gather(served, call)
        else:
            self._serve(served, [call])

    def _known(self, model: Model) -> Served:
        served = self._served.get(model.manifest.model)
        if served is None or served.model is not model:
            served = self._served[model.manifest.model] = Served(model)
        return served

    def forget(self) -> None:
        """Let go of releases that serve no more, so that their memory is given back."""
        for name, served in list(self._served.items()):
            server = self._engine.server(name)
            if server is None or server.model is not served.model:
                del self._served[name]

    # In the endpoint's own thread.

    def _gather(self, served: Served, call: Call) -> None:
        """Let a call wait for those that have come with it."""
        if not self._together:
            self._soon(self._serve_gathered)
        self._together.setdefault(served, []).append(call)

    def _serve_gathered(self) -> None:
        together, self._together = self._together, {}
        for served, calls in together.items():
            if served.costs.within(sum(call.read(served).rows for call in calls), QUICK_S):
                self._serve(served, calls)
            else:
                for call in calls:
                    self._serve(served, [call])

    def _serve(self, served: Served, calls: Sequence[Call]) -> None:
        """Run calls as one batch if there are cores for it now; else the workers wait for some."""
        gate = self._engine.gate
        if not gate.enter_at_once(served.threads):
            for call in calls:
                self._hand_over(served, call)
            return
        try:
            responses = self._predict(served, calls)
        finally:
            gate.leave(served.threads)
        for call, response in zip(calls, responses, strict=True):
            self._done(call, response)

    def _done(self, call: Call, response: Response) -> None:
        """Count a call, and reply."""
        tally, batch = call.tally, call.batch
        tally.calls += 1
        if response.status == 200 and batch is not None:
            tally.rows += batch.rows
            tally.missing += batch.missing
            tally.outside += batch.outside
            tally.durations.add(self._ticks() - call.began)
        elif response.status < 500:
            tally.refused += 1
        else:
            tally.failed += 1
        call.reply(response)

    def _hand_over(self, served: Served, call: Call) -> None:
        if not self._workers.submit(partial(self._work, served, call)):
            call.reply(refusal(503, f"{MOST_AT_ONCE} calls are waiting or at work already; try again"))

    # In a worker's.

    def _work(self, served: Served, call: Call) -> None:
        try:
            response = self._run(served, call)
        except CallRefusedError as error:
            response = refusal(error.status, str(error))
        except Exception:  # one call's end is not the worker's
            log.exception("a call over HTTP failed in an unforeseen way")
            response = refusal(500, "the call failed in an unforeseen way; the agent's log says more")
        self._in_thread(partial(self._done, call, response))

    def _run(self, served: Served, call: Call) -> Response:
        """Read and run one call, unless nobody waits for it any more; raises as `Served.read`."""
        if not call.request.wanted:
            return _UNWANTED
        call.read(served)
        self._engine.gate.enter(served.threads)
        try:
            return self._predict(served, [call])[0] if call.request.wanted else _UNWANTED
        finally:
            self._engine.gate.leave(served.threads)

    # In either.

    def _predict(self, served: Served, calls: Sequence[Call]) -> list[Response]:
        """Run calls that were read as one batch, or one by one where it fails as one."""
        batches = [call.read(served) for call in calls]
        rows = batches[0].rows if len(calls) == 1 else sum(batch.rows for batch in batches)
        began = self._ticks()
        try:
            outputs = served.run(_joined(batches))
        except ModelRunError as error:
            if len(calls) == 1:
                return [refusal(500, str(error))]
            return [response for call in calls for response in self._predict(served, [call])]
        served.learn(rows, self._ticks() - began)
        if len(calls) == 1:
            return [_answer(served, calls[0], outputs)]
        if any(len(output) != rows for output in outputs):
            served.joins = False
            return [response for call in calls for response in self._predict(served, [call])]
        responses, first = [], 0
        for call, batch in zip(calls, batches, strict=True):
            part = slice(first, first + batch.rows)
            responses.append(_answer(served, call, [output[part] for output in outputs]))
            first = part.stop
        return responses


def _joined(batches: Sequence[Batch]) -> list[Array]:
    if len(batches) == 1:
        return batches[0].columns
    return [np.concatenate(parts) for parts in zip(*(batch.columns for batch in batches), strict=True)]


def _answer(served: Served, call: Call, outputs: Sequence[Array]) -> Response:
    try:
        wanted = wanted_outputs(served.outputs, call.asking)
        return answer(served.ref, served.outputs, call.asking, outputs, wanted)
    except CallRefusedError as error:
        return refusal(error.status, str(error))
