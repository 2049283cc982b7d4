"""`genba`: every verb explains itself; a missing extra is named; wrong usage is 2, failure 1, in one line."""

import importlib.metadata
import re
import subprocess
import sys

import pytest

import genba

#: Imports as though these packages were not installed, then runs a verb.
WITHOUT = """
import sys
missing = set(sys.argv[1].split(","))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import genba
sys.exit(genba.main(sys.argv[2:]))
"""


def run(*arguments: str, code: str = "import sys, genba; sys.exit(genba.main(sys.argv[1:]))"):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("verb", genba.VERBS)
def test_every_verb_explains_itself(verb):
    done = run(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: genba {verb}")
    assert done.stderr == ""


@pytest.mark.parametrize("verb", genba.VERBS)
def test_an_option_that_is_not_there_is_wrong_usage(verb):
    done = run(verb, "--no-such-option")
    assert done.returncode == 2
    assert "usage: genba" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_front_page_lists_every_verb():
    done = run("--help")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")] == list(genba.VERBS)


def test_no_verb_and_an_unknown_verb_are_wrong_usage():
    assert run().returncode == 2
    done = run("frobnicate")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "genba: no verb 'frobnicate'; `genba --help` lists them\n"


def test_the_version_is_told():
    assert run("--version").stdout == f"genba {genba.__version__}\n"


def packages_of(extra: str) -> str:
    """Return the import names that only this extra brings, comma-separated."""
    metadata = importlib.metadata.metadata("genba")
    base, wanted = set(), set()
    pending, seen = [extra], set()
    while pending:
        name = pending.pop()
        seen.add(name)
        for need in metadata.get_all("Requires-Dist") or []:
            package = re.split(r"[\[<>=!~; ]", need)[0].lower()
            if "extra ==" not in need:
                base.add(package)
            elif re.search(rf"extra == [\"']{name}[\"']", need):
                inner = re.match(r"genba\[(.*?)\]", need)
                pending += [each for each in inner[1].split(",") if each not in seen] if inner else []
                wanted.add(package)
    imports = importlib.metadata.packages_distributions()
    return ",".join(
        name for name, owners in imports.items() if {o.lower() for o in owners} & (wanted - base - {"genba"})
    )


def test_python_has_every_name_that_it_promises():
    assert set(genba.__all__) <= set(dir(genba))
    assert [name for name in genba.__all__ if not hasattr(genba, name)] == []
    with pytest.raises(AttributeError, match="'genba' has no attribute 'retrain'"):
        genba.retrain  # noqa: B018


def test_a_name_without_its_extra_names_it():
    code = WITHOUT.replace("sys.exit(genba.main(sys.argv[2:]))", "genba.train")
    done = run(packages_of("trainer"), code=code)
    assert done.returncode == 1
    assert re.search(
        r"MissingExtraError: this needs the package '\w+', which is not installed: pip install 'genba\[trainer\]'\n$",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("demo", ["--report", "report.json"]),
        ("registry", ["init", "--home", "home"]),
        ("train", ["data.csv", "--target", "y", "--model", "m", "--out", "out"]),
        ("import", ["model.onnx", "--sample", "data.csv", "--model", "m", "--out", "out"]),
        ("simulate", ["line", "data.csv"]),
    ],
)
def test_a_verb_without_its_extra_names_it(verb, arguments, tmp_path, monkeypatch):
    (tmp_path / "data.csv").write_text("x,y\n" + "".join(f"{row},{row * 2}\n" for row in range(200)))
    (tmp_path / "model.onnx").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    extra = genba.VERBS[verb].extra
    assert extra is not None
    done = run(packages_of(extra), verb, *arguments, code=WITHOUT)
    assert done.returncode == 1, done.stderr
    assert re.fullmatch(
        rf"genba: this needs the package '\w+', which is not installed: pip install 'genba\[{extra}\]'\n", done.stderr
    )


@pytest.mark.parametrize("verb", [name for name, verb in genba.VERBS.items() if verb.extra in (None, "cpu")])
def test_a_devices_verbs_work_without_what_only_a_server_has(verb):
    missing = ",".join([packages_of("registry"), packages_of("trainer"), "onnxruntime"])
    done = run(missing, verb, "--help", code=WITHOUT)
    assert done.returncode == 0, done.stderr
