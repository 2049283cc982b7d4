"""What a stranger should find in the tree: one idea a module, names of the design, documents that stand alone."""

import ast
import re
import tomllib

import pytest

import genba

PACKAGES = ("protocols", "devices", "edge_agent", "trainer", "registry", "rehearsal")
LINES = 500
NO_NOUNS = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
#: Folders of one person's or one machine's own; /var, /etc and /run are a device's, and may be named.
OWN_FOLDERS = re.compile(r"(?<![\w.])/(?:home|root|Users|work|tmp|mnt|media|private)/\w[\w/.-]*")


def sources(root):
    folders = [root / name for name in (*PACKAGES, "tests", "benchmarks")]
    return [root / "genba.py", *(path for folder in folders for path in sorted(folder.rglob("*.py")))]


def documents(root):
    named = [root / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md") if (root / name).exists()]
    return [*named, *sorted((root / "docs").rglob("*.md")), *sorted((root / "docs").rglob("*.json"))]


def test_no_module_is_more_than_one_idea(root):
    lengths = {str(path.relative_to(root)): len(path.read_text("utf-8").splitlines()) for path in sources(root)}
    assert not {name: length for name, length in lengths.items() if length > LINES}


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_are_nouns_in_real_packages(root, package):
    modules = sorted((root / package).rglob("*.py"))
    assert [path for path in modules if path.name == "__init__.py"]
    assert not [str(path.relative_to(root)) for path in modules if path.stem.strip("_") in NO_NOUNS]
    folders = {path.parent for path in modules}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]
    assert (root / package / "py.typed").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is_for(root, package):
    silent = [
        str(path.relative_to(root))
        for path in sorted((root / package).rglob("*.py"))
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert not silent


@pytest.mark.parametrize("package", ["protocols", "devices"])
def test_the_package_lists_its_modules(root, package):
    listed = ast.literal_eval(re.search(r"__all__ = (\[.*?\])", (root / package / "__init__.py").read_text(), re.S)[1])
    assert listed == sorted(path.stem for path in (root / package).glob("*.py") if path.stem != "__init__")


def test_documents_name_no_folder_of_one_machine(root):
    found = {
        str(path.relative_to(root)): OWN_FOLDERS.findall(path.read_text("utf-8"))
        for path in documents(root)
        if OWN_FOLDERS.search(path.read_text("utf-8"))
    }
    assert not found


def test_the_version_is_the_same_wherever_it_is_said(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["version"] == genba.__version__
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## {re.escape(genba.__version__)}\b", changelog, re.M)


def test_the_lock_pins_what_is_declared(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = (root / "requirements" / "dev.txt").read_text().splitlines()
    pinned = {line.partition("==")[0] for line in lines if not line.startswith("#")}
    assert all("==" in line for line in lines if not line.startswith("#"))
    extras = project["optional-dependencies"]
    declared = [
        *project["dependencies"],
        *(need for name in ("cpu", "trainer", "registry", "dev") for need in extras[name]),
    ]
    names = {re.split(r"[\[<>=!~ ;]", need)[0].lower().replace(".", "-") for need in declared} - {"genba"}
    assert names <= pinned


def test_no_extra_forces_one_onnx_runtime_over_another(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    with_runtime = {
        name for name, needs in project["optional-dependencies"].items() if any("onnxruntime" in need for need in needs)
    }
    assert with_runtime == {"cpu", "gpu", "openvino"}
    assert not any("onnxruntime" in need for need in project["dependencies"])
