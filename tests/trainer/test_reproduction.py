"""`genba reproduce`: the same digest again, or what differs."""

import shutil
from pathlib import Path

import msgspec
import pandas as pd
import pytest

import genba
from protocols.manifest import Manifest, encode_manifest
from trainer.candidate import read_candidate
from trainer.errors import CandidateError, NotReproducedError
from trainer.report import decode_report, encode_report
from trainer.reproduction import choose_again, reproduce_release
from trainer.request import TrainRequest
from trainer.train import train


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, many_rows: pd.DataFrame) -> tuple[Path, Path]:
    """A candidate with every option that changes a model, and its data."""
    folder = tmp_path_factory.mktemp("reproduction")
    data = folder / "plant.csv"
    many_rows.assign(always=1, machine=[f"M{number % 9}" for number in range(300)]).to_csv(data, index=False)
    wishes = {"keep": ("always",), "drop": ("fault",), "group": "machine", "trials": 2, "seed": 5, "metric": "mae"}
    train(TrainRequest(data, "yield", "plant", budget_s=20, **wishes), folder / "candidate")  # type: ignore[arg-type]
    return folder / "candidate", data


def edited(folder: Path, out: Path, **lineage: object) -> Path:
    """The same candidate, which claims to have been made otherwise."""
    shutil.copytree(folder, out)
    manifest = read_candidate(out)
    changed: Manifest = msgspec.structs.replace(manifest, lineage=msgspec.structs.replace(manifest.lineage, **lineage))
    (out / "release.json").write_bytes(encode_manifest(changed))
    return out


def test_the_same_data_give_the_same_digest(made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, data = made
    assert genba.main(["reproduce", str(folder), "--data", str(data)]) == 0
    assert read_candidate(folder).digest in capsys.readouterr().out


def test_other_data_are_told_before_anything_is_trained(made: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    pd.read_csv(made[1]).iloc[1:].to_csv(other, index=False)
    with pytest.raises(NotReproducedError, match=r"the data differ: it learned from plant\.csv .* \(299 rows"):
        reproduce_release(made[0], other)


def test_another_wish_or_library_is_named(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pins = {**read_candidate(made[0]).lineage.pins, "scikit-learn": "0.1"}
    spoilt = edited(made[0], tmp_path / "spoilt", drop=("fault", "wear"), pins=pins)
    assert genba.main(["reproduce", str(spoilt), "--data", str(made[1])]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "model.onnx was" in said
    assert "scikit-learn 0.1 then" in said


def test_a_difference_that_did_not_matter_is_told_beside_the_proof(made: tuple[Path, Path], tmp_path: Path) -> None:
    older = edited(made[0], tmp_path / "older", code_version="0.0.1")
    found = reproduce_release(older, made[1])
    assert found.differences[0].startswith("Genba 0.0.1 then, ")


def test_a_release_without_a_recipe_is_its_makers_affair(made: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(NotReproducedError, match="an older Genba made it"):
        reproduce_release(edited(made[0], tmp_path / "old", recipe=None), made[1])


def test_a_recipe_of_an_older_genba_is_not_taken_for_a_new_one(made: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = read_candidate(made[0]).lineage.recipe
    assert recipe is not None
    old = msgspec.structs.replace(
        recipe, members=tuple(msgspec.structs.replace(one, seeds=()) for one in recipe.members)
    )
    with pytest.raises(NotReproducedError, match="an older Genba made it"):
        reproduce_release(edited(made[0], tmp_path / "old", recipe=old), made[1])


def test_an_imported_model_cannot_be_trained_again(made: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(NotReproducedError, match="it was imported"):
        reproduce_release(edited(made[0], tmp_path / "imported", trials=0), made[1])


def test_another_entry_of_the_front_is_made_without_a_search(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    front = decode_report((made[0] / "report.json").read_bytes()).front
    assert (
        genba.main(["choose", str(made[0]), str(len(front)), "--data", str(made[1]), "--out", str(tmp_path / "o")]) == 0
    )
    assert "parity" in capsys.readouterr().out
    chosen = read_candidate(tmp_path / "o")
    assert chosen.lineage.recipe is not None
    assert (chosen.lineage.metric_asked, read_candidate(made[0]).lineage.metric_asked) == ("mae", "mae")
    told = [[(one.family, one.seeds) for one in recipe.members] for recipe in (chosen.lineage.recipe, front[-1])]
    assert told[0] == told[1]
    assert genba.main(["reproduce", str(tmp_path / "o"), "--data", str(made[1])]) == 0
    wrong = ["choose", str(made[0]), "99", "--data", str(made[1]), "--out", str(tmp_path / "none")]
    assert genba.main(wrong) == 1
    assert f"has no entry 99 on its front: give 1 to {len(front)}" in capsys.readouterr().err


def test_where_there_is_no_front_nothing_is_chosen(made: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(made[0], tmp_path / "old")
    report = tmp_path / "old" / "report.json"
    report.write_bytes(encode_report(msgspec.structs.replace(decode_report(report.read_bytes()), front=())))
    with pytest.raises(
        CandidateError, match="has no front to choose from: it was imported, or an older Genba trained it"
    ):
        choose_again(tmp_path / "old", 1, made[1], tmp_path / "other")
