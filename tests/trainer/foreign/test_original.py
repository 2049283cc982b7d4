"""A framework that crashes, hangs, is missing or chatters is one line, whatever it does to its own process."""

from pathlib import Path

import pytest

from trainer.errors import ImportRefusedError
from trainer.foreign import original
from trainer.foreign.kinds import Found
from trainer.foreign.original import Original

CRASH = "import os\nos.abort()\n"
HANG = "import time\ntime.sleep(60)\n"
MISSING = "raise ModuleNotFoundError(\"No module named 'catboost'\", name='catboost')\n"
THEIRS = "import our_plant.nets\n"
HUNGRY = "import numpy\nnumpy.ones(1 << 28)\n"
CHATTER = """
print("CatBoost says hello", flush=True)

class CatBoost:
    classes_ = ()
    feature_names_ = ("0", "1")
    def load_model(self, path):
        print("loading", path, flush=True)
        return self
    def predict(self, rows):
        return rows[:, 0]

CatBoostRegressor = CatBoost
"""


def opened(folder: Path, monkeypatch: pytest.MonkeyPatch, framework: str) -> Original:
    """Return a model whose framework is this text."""
    (folder / "catboost.py").write_text(framework)
    (folder / "m.cbm").write_bytes(b"CBM1")
    monkeypatch.syspath_prepend(folder)
    return Original(Found("catboost", folder / "m.cbm"), {"trusted": False})


@pytest.mark.parametrize(
    ("framework", "says"),
    [
        (CRASH, r"m\.cbm kills the process that loads it \(SIGABRT\)"),
        (MISSING, r"needs the package 'catboost', which is not installed: pip install 'genba\[boosting\]'"),
        (THEIRS, r"needs the module 'our_plant', which is not found here: put the folder that it is in on PYTHONPATH"),
        ("raise ValueError('one\\ntwo')", r"m\.cbm: one two"),
    ],
    ids=["crash", "missing", "theirs", "error"],
)
def test_a_framework_that_fails_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framework: str, says: str
) -> None:
    with pytest.raises(ImportRefusedError, match=says) as caught, opened(tmp_path, monkeypatch, framework):
        pass
    assert "\n" not in str(caught.value)


def test_a_framework_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(original, "CONVERT_S", 5.0)
    with pytest.raises(ImportRefusedError, match="not done within 5 s"), opened(tmp_path, monkeypatch, HANG):
        pass


def test_a_framework_gets_no_more_memory_than_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(original, "default_memory_bytes", lambda size: 2**28)
    monkeypatch.setattr(original, "MARGIN_BYTES", 2**30)
    said = r"m\.cbm asks for more than 1280 MiB of memory in its framework"
    with pytest.raises(ImportRefusedError, match=said), opened(tmp_path, monkeypatch, HUNGRY):
        pass


def test_what_a_framework_prints_does_not_get_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, monkeypatch, CHATTER) as model:
        assert model.known.width == 2
        assert model.known.columns == ()
