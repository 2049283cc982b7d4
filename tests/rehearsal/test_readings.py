"""What simulated sensors say: inside the release's ranges, or off them, at the paths that the stream reads."""

import json
import random

import msgspec
import pytest
from simulators.sample_documents import manifest as sample
from simulators.small_kinds import pictured, recurrent_window, stateful, write_kind

from edge_agent.feeding import StateCarrier
from edge_agent.golden import read_golden
from edge_agent.readers import make_reader
from edge_agent.rows import RowReader
from protocols.assignment import StreamBinding
from protocols.manifest import TensorSpec
from rehearsal.bench import RecordedModel
from rehearsal.readings import Readings, read_table

INPUTS = (
    TensorSpec("AT", "float32", low=0.0, high=10.0),
    TensorSpec("count", "int64", low=0.0, high=100.0),
    TensorSpec("grade", "string", categories=("L", "M")),
)
BINDING = StreamBinding("main", "ccpp", "in", "out", {"AT": "$.air[1].temp", "count": "$['n']"})


@pytest.fixture
def manifest():
    return msgspec.structs.replace(sample(), inputs=INPUTS)


def test_the_agents_own_reader_takes_every_message(manifest):
    readings = Readings(random.Random(1))
    rows = RowReader(INPUTS, BINDING).read([readings.payload(BINDING, manifest) for _ in range(50)])
    assert rows.rejected == []
    assert 0 <= rows.columns[0].min() <= rows.columns[0].max() <= 10
    assert set(rows.columns[2][:, 0]) == {"L", "M"}


def test_drifted_sensors_lie_off(manifest):
    def mean(*, drifted: bool) -> float:
        readings = Readings(random.Random(1), drifted=drifted)
        seen = [json.loads(readings.payload(BINDING, manifest))["air"][1]["temp"] for _ in range(200)]
        return sum(seen) / len(seen)

    assert mean(drifted=True) - mean(drifted=False) == pytest.approx(4.0)


def test_a_tables_rows_come_in_their_order_and_round_again(manifest, tmp_path):
    (tmp_path / "table.csv").write_text("AT,grade\n1.5,M\n2.5,L\n3.5,M\n")
    readings = Readings(random.Random(1), read_table(tmp_path / "table.csv"))
    seen = [json.loads(readings.payload(BINDING, manifest))["air"][1]["temp"] for _ in range(6)]
    assert seen[:3] == seen[3:]
    assert sorted(seen[:3]) == [1.5, 2.5, 3.5]


@pytest.mark.parametrize("path", [None, "$.shot.data"])
def test_a_simulated_camera_sends_pictures(path, tmp_path):
    manifest = write_kind(tmp_path, pictured())
    binding = StreamBinding("main", "ccpp", "in", "out", {"image": path} if path else {})
    readings = Readings(random.Random(1))
    rows = make_reader(manifest, binding).read([readings.payload(binding, manifest) for _ in range(5)])
    assert rows.rejected == []
    assert 100 < rows.numbers[0].mean() < 160


@pytest.mark.parametrize("kind", [stateful(), recurrent_window()])
def test_a_recorded_model_with_state_answers_its_golden_rows(kind, tmp_path):
    manifest = write_kind(tmp_path, kind)
    golden = read_golden(tmp_path / "golden.npz", manifest)
    model = RecordedModel(manifest, golden)
    found = StateCarrier(manifest.state).predict(model, golden.inputs)
    assert found.values.tolist() == golden.outputs[0].ravel().tolist()
