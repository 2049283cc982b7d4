"""Tables of labelled rows."""

import io

import pandas as pd
import pytest

from protocols.manifest import Footprint, Lineage, Manifest, ParityCertificate, TensorSpec, Tolerance
from registry.jobs.frames import joined, labelled_frame


@pytest.fixture
def manifest():
    def make(task="regression"):
        return Manifest(
            model="press",
            task=task,
            target="y",
            created="",
            files={},
            inputs=(TensorSpec("Torque [Nm]", "float32"), TensorSpec("Type", "string"), TensorSpec("Grade", "string")),
            outputs=(TensorSpec("prediction", "float32"),),
            opset={},
            operators=(),
            providers={},
            footprint=Footprint(0, 0, 0, ""),
            lineage=Lineage("", "", 0, (), "y", "", {}, 0, 1.0, 1, {}),
            parity=ParityCertificate(Tolerance(0, 0), (), ""),
            metric="rmse",
            metrics={},
        )

    return make


def test_rows_fit_the_inputs(manifest):
    rows = [
        {"Torque [Nm]": 40.5, "Type": "L", "Grade": 1, "y": 1.0, "key": 7},
        {"Torque [Nm]": "41", "Type": None, "Grade": 2.0, "y": "2.5"},
        {"Torque [Nm]": "broken", "y": 3},
        {"Torque [Nm]": 42.0, "Type": "M", "y": None},
    ]
    frame = labelled_frame(rows, manifest())
    assert list(frame.columns) == ["Torque [Nm]", "Type", "Grade", "y"]
    assert frame["y"].tolist() == [1.0, 2.5, 3.0]
    assert frame["Torque [Nm]"].tolist()[:2] == [40.5, 41.0]
    assert frame["Torque [Nm]"].isna().tolist() == [False, False, True]
    assert frame["Grade"].tolist()[:2] == ["1", "2"]
    assert frame["Type"].isna().tolist() == [False, True, True]


def test_no_rows_make_an_empty_table(manifest):
    assert len(labelled_frame([], manifest())) == 0


def test_the_original_table_comes_first_and_gives_the_types(manifest):
    original = pd.DataFrame(
        {"Torque [Nm]": [1, 2], "Type": ["L", "M"], "Grade": [1, 2], "y": [0, 1], "UDI": [100, 101]}
    )
    newest = labelled_frame(
        [{"Torque [Nm]": 3.5, "Type": "H", "Grade": "3", "y": "1"}, {"Torque [Nm]": 4, "Type": "H", "y": 0}],
        manifest("classification"),
    )
    table = joined(original, newest, manifest("classification"))
    assert list(table.columns) == ["Torque [Nm]", "Type", "Grade", "y"]
    assert table["y"].tolist() == [0, 1, 1, 0]
    assert table["Grade"].tolist()[:3] == [1, 2, 3]
    assert table["Torque [Nm]"].tolist() == [1, 2, 3.5, 4]


def test_without_the_original_the_newest_rows_are_the_table(manifest):
    newest = labelled_frame([{"Torque [Nm]": 1.0, "Type": "L", "Grade": "1", "y": 1.0}], manifest())
    assert joined(None, newest, manifest()).equals(newest)


def test_text_labels_meet_text_labels(manifest):
    original = pd.DataFrame({"Torque [Nm]": [1.0], "Type": ["L"], "Grade": ["a"], "y": ["good"]})
    newest = labelled_frame([{"Torque [Nm]": 2.0, "Type": "L", "Grade": "b", "y": 1}], manifest("classification"))
    assert joined(original, newest, manifest("classification"))["y"].tolist() == ["good", "1"]


@pytest.mark.parametrize(
    "said",
    [[True, False], pd.array([True, None], dtype="boolean"), [True, None], [" True", "FALSE"], ["true", None]],
)
def test_true_and_false_of_the_original_table_are_the_numbers_that_lines_send(manifest, said):
    original = pd.DataFrame({"Torque [Nm]": said, "Type": ["L", "M"], "Grade": ["a", "b"], "y": [1.0, 2.0]})
    newest = labelled_frame(
        [{"Torque [Nm]": True, "Type": "L", "Grade": "a", "y": 1}, {"Torque [Nm]": 0, "Type": "L", "y": 2}], manifest()
    )
    table = joined(original, newest, manifest())
    column = pd.to_numeric(pd.read_csv(io.StringIO(table.to_csv(index=False)))["Torque [Nm]"])
    assert column.tolist()[0] == 1
    assert column.tolist()[2:] == [1, 0]
    assert column.isna().tolist()[1] == pd.isna(said[1])
