"""A trained model in Python: it answers by its graph, shows what was found, escapes it, and lasts as it should."""

import copy
import gc
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from protocols.manifest import Manifest
from trainer.errors import CandidateError, MissingColumnError, OutputRefusedError, RequestError, TableError
from trainer.graphs import open_graph, run_graph
from trainer.sdk.notebook import card_page, summary_page
from trainer.sdk.trained import TrainedModel

Candidate = tuple[Path, Manifest]
HOSTILE = "<script>alert('1')</script>"


@pytest.fixture
def fault(class_candidate: Candidate) -> TrainedModel:
    return TrainedModel(class_candidate[0])


@pytest.fixture
def output(regression_candidate: Candidate) -> TrainedModel:
    return TrainedModel(regression_candidate[0])


def test_predictions_are_the_graphs_own(fault: TrainedModel, many_rows: pd.DataFrame) -> None:
    feed = {
        spec.name: many_rows[[spec.name]].fillna("").to_numpy(dtype=object)
        if spec.dtype == "string"
        else many_rows[[spec.name]].to_numpy(dtype=np.float32)
        for spec in fault.manifest.inputs
    }
    labels, shares, *_ = run_graph(open_graph((fault.folder / "model.onnx").read_bytes()), feed)
    assert (fault.predict(many_rows) == labels.reshape(-1)).all()
    assert (fault.predict_proba(many_rows) == shares).all()
    assert list(fault.classes_) == ["bad", "good"]
    assert set(fault.predict(many_rows)) <= set(fault.classes_)


def test_a_file_a_mapping_and_a_shuffled_index_give_the_same_answers(
    output: TrainedModel, many_rows: pd.DataFrame, tmp_path: Path
) -> None:
    wanted = output.predict(many_rows)
    many_rows.to_parquet(tmp_path / "rows.parquet")
    assert (output.predict(tmp_path / "rows.parquet") == wanted).all()
    assert (output.predict(many_rows.to_dict("list")) == wanted).all()
    assert (output.predict(many_rows.set_index(many_rows.index[::-1])) == wanted).all()
    assert (output.predict(many_rows[many_rows.columns[::-1]]) == wanted).all()


def test_many_rows_are_answered_in_their_order(
    output: TrainedModel, many_rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = output.predict(many_rows)
    monkeypatch.setattr("trainer.sdk.trained.BATCH_ROWS", 7)
    assert np.allclose(output.predict(many_rows), wanted, rtol=1e-6)


def test_a_decimal_comma_is_read_as_in_training(output: TrainedModel, many_rows: pd.DataFrame) -> None:
    written = many_rows.head(5).astype({"Torque [Nm]": str})
    written["Torque [Nm]"] = written["Torque [Nm]"].str.replace(".", ",")
    assert (output.predict(written) == output.predict(many_rows.head(5))).all()


def test_score_is_accuracy_or_r2_of_the_rows_with_a_target(
    fault: TrainedModel, output: TrainedModel, many_rows: pd.DataFrame
) -> None:
    assert fault.score(many_rows) == np.mean(fault.predict(many_rows) == many_rows["fault"])
    rest = ((many_rows["yield"] - output.predict(many_rows)) ** 2).sum()
    spread = ((many_rows["yield"] - many_rows["yield"].mean()) ** 2).sum()
    assert output.score(many_rows) == pytest.approx(1 - rest / spread)
    partly = many_rows.assign(fault=many_rows["fault"].where(many_rows.index < 50))
    assert fault.score(partly) == fault.score(many_rows.head(50))
    assert fault.score(many_rows.assign(fault="unheard of")) == 0
    assert output.evaluate(many_rows)["metrics"]["r2"] == pytest.approx(output.score(many_rows))


def test_what_cannot_be_answered_is_named(fault: TrainedModel, output: TrainedModel, many_rows: pd.DataFrame) -> None:
    with pytest.raises(MissingColumnError, match="wear"):
        fault.predict(many_rows.drop(columns="wear"))
    with pytest.raises(MissingColumnError, match="fault"):
        fault.score(many_rows.drop(columns="fault"))
    with pytest.raises(TableError, match=r"'wear' is 'broken' in row 3"):
        fault.predict(many_rows.astype({"wear": object}).assign(wear=[10, 11, "broken", *[12] * 297]))
    with pytest.raises(RequestError, match="use predict"):
        output.predict_proba(many_rows)
    with pytest.raises(RequestError, match=r"the table is a list: give a pandas DataFrame"):
        output.predict([1, 2])


def test_tables_show_what_the_report_holds(fault: TrainedModel) -> None:
    report = fault.report
    assert fault.leaderboard["loss"].tolist() == [one.loss for one in report.trials]
    assert fault.guardrails["check"].tolist() == [one.check for one in report.guardrails]
    assert fault.importance["feature"].tolist() == [one.feature for one in fault.manifest.importance]
    assert report.card is not None
    assert fault.front["chosen"].sum() == sum(one.chosen for one in report.card.front)
    assert fault.metrics == fault.manifest.metrics
    assert [plot.title for plot in fault.plots][:1] == ["Observed over predicted: share of 'bad'"]
    assert all(plot._repr_svg_().startswith("<svg") for plot in fault.plots)
    assert "leaderboard" in str(fault)
    assert repr(fault).startswith("<plant-fault: classification of 'fault'; held-out log_loss ")


def test_what_a_notebook_shows_is_escaped(fault: TrainedModel) -> None:
    replace = msgspec.structs.replace
    inputs = tuple(replace(spec, name=HOSTILE) for spec in fault.manifest.inputs)
    importance = tuple(replace(one, feature=HOSTILE) for one in fault.manifest.importance)
    lineage = replace(fault.manifest.lineage, data_name=HOSTILE)
    manifest = replace(fault.manifest, target=HOSTILE, inputs=inputs, importance=importance, lineage=lineage)
    rails = tuple(replace(one, state="alerted", seen=(HOSTILE,), done=HOSTILE) for one in fault.report.guardrails)
    report = replace(fault.report, guardrails=rails, importance=importance)
    for report_ in (report, replace(report, card=None)):
        for page in (card_page(manifest, report_), summary_page(manifest, report_)):
            assert "&lt;script&gt;" in page._repr_html_()
            assert "<script" not in page._repr_html_()


def test_the_summary_tells_figures_checks_and_proof(fault: TrainedModel) -> None:
    shown = fault._repr_html_()
    assert "plant-fault: classification of &#x27;fault&#x27;, 240 rows" in shown
    assert "<svg" in shown
    assert "Simplest answer" in shown
    assert "computes what the model computes" in shown
    assert fault.card._repr_html_().count("<h2>") >= 8


def test_contributions_add_up_to_the_answer(output: TrainedModel, many_rows: pd.DataFrame) -> None:
    rows = many_rows.head(4)
    why = output.explain(rows, background=many_rows.tail(40))
    added = why.filter(like="contribution_").sum(axis=1) + why["base"]
    assert np.allclose(added, output.predict(rows), atol=1e-3)
    assert why["row"].tolist() == [1, 2, 3, 4]
    assert len(output.explain(rows)) == 4


def test_alternatives_give_the_answer_that_is_wanted(
    fault: TrainedModel, output: TrainedModel, many_rows: pd.DataFrame
) -> None:
    bad = many_rows[fault.predict(many_rows) == "bad"].head(1)
    found = fault.alternatives(bad, ["Torque [Nm]", "wear"])
    first = found[found["alternative"] == 1]
    assert set(first["answer"]) == {"good"}
    changed = bad.assign(**dict(zip(first["feature"], first["after"], strict=True)))
    assert fault.predict(changed).tolist() == ["good"]
    assert fault.alternatives(bad, "wear", to="bad").empty
    row = many_rows.head(1)
    wanted = float(output.predict(row)[0]) + 1
    more = output.alternatives(row, "Torque [Nm]", above=wanted)
    assert more["reached"].min() >= wanted
    with pytest.raises(RequestError, match="below=X or above=X"):
        output.alternatives(row, "wear")
    with pytest.raises(RequestError, match="give one of them"):
        output.alternatives(row, "wear", above=1, below=0)
    with pytest.raises(RequestError, match="the table has 300"):
        output.alternatives(many_rows, "wear", above=1)


def test_a_copied_model_has_a_folder_of_its_own_while_it_lasts(fault: TrainedModel, many_rows: pd.DataFrame) -> None:
    other = copy.deepcopy(fault)
    folder = other.folder
    assert folder != fault.folder
    assert (other.predict(many_rows) == fault.predict(many_rows)).all()
    del other
    gc.collect()
    assert not folder.exists()
    assert fault.folder.exists()


def test_a_saved_model_is_the_same_candidate(fault: TrainedModel, tmp_path: Path) -> None:
    saved = TrainedModel(fault.save(tmp_path / "saved"))
    assert saved.manifest == fault.manifest
    assert sorted(path.name for path in saved.folder.iterdir()) == sorted(path.name for path in fault.folder.iterdir())
    with pytest.raises(OutputRefusedError, match="--force"):
        fault.save(tmp_path / "saved")
    fault.save(tmp_path / "saved", force=True)


def test_a_folder_without_a_candidate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CandidateError, match=r"release\.json"):
        TrainedModel(tmp_path)
