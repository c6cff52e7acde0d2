"""The packaging: four folders install as ``ssd300.<folder>``, and each imports only from those to its left."""

import ast
import importlib
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEFT_TO_RIGHT = ("datasets", "model", "preprocessing", "training")
SOURCES = [path.relative_to(ROOT) for folder in LEFT_TO_RIGHT for path in sorted((ROOT / folder).rglob("*.py"))]


def module_of(path: Path) -> str:
    return ".".join(("ssd300", *path.with_suffix("").parts)).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    """Names of the modules that a source imports anywhere in it; ``from a import b`` counts as ``a`` and ``a.b``."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


IMPORTS = {module_of(path): imports_of(path) for path in SOURCES}


def test_there_are_sources_in_every_folder():
    assert {path.parts[0] for path in SOURCES} == set(LEFT_TO_RIGHT)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_folder_imports_only_from_those_to_its_left(path):
    allowed = LEFT_TO_RIGHT[: LEFT_TO_RIGHT.index(path.parts[0]) + 1]
    for name in IMPORTS[module_of(path)]:
        first, *rest = name.split(".")
        assert first not in LEFT_TO_RIGHT, f"{path} imports the top-level name {name}"
        if first == "ssd300":
            assert not rest or rest[0] in allowed, f"{path} imports {name}"


def all_imports_from(module: str) -> set[str]:
    """What importing a module of ours can import at all, through our own modules."""
    found, pending = set(), [module]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        pending += IMPORTS.get(name, ())
    return found


@pytest.mark.parametrize(
    "module",
    [
        "ssd300.model.boxes",
        "ssd300.model.default_boxes",
        "ssd300.model.box_coder",
        "ssd300.model.spec",
        "ssd300.preprocessing.shards.encode_shard",
        "ssd300.preprocessing.runners.local_workers",
    ],
)
def test_what_a_beam_worker_imports_has_no_keras(module):
    imported = all_imports_from(module)
    assert module in IMPORTS
    assert not {name for name in imported if name.split(".")[0] == "keras" or name.startswith("tensorflow.keras")}


def test_the_search_for_keras_can_find_it():
    assert any(name.split(".")[0] == "keras" for name in all_imports_from("ssd300.model.ssd300"))


@pytest.mark.parametrize("folder", LEFT_TO_RIGHT)
def test_the_folders_import_as_ssd300(folder):
    package = importlib.import_module(f"ssd300.{folder}")
    assert Path(package.__file__).name == "__init__.py"
    assert package.__doc__


def test_the_installed_distribution_has_the_command():
    distribution = importlib.metadata.distribution("ssd300")
    (command,) = [point for point in distribution.entry_points if point.group == "console_scripts"]
    assert (command.name, command.value) == ("ssd300", "ssd300.training.cli.main:main")
    assert callable(command.load())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    for module in ("pip", "setuptools", "wheel"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed; a wheel cannot be built without a download")
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"  # a build leaves folders beside setup.py
    for name in LEFT_TO_RIGHT:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "--wheel-dir", str(folder)], cwd=copy, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_holds_every_source_under_ssd300_and_nothing_beside_it(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "ssd300/datasets/annotation.py" in names
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == {f"ssd300/{path.as_posix()}" for path in SOURCES}
    top = {name.split("/")[0] for name in names}
    assert top == {"ssd300", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}


def test_a_wheel_carries_command_and_requirements(wheel):
    archive = zipfile.ZipFile(wheel)
    texts = {Path(name).name: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}
    assert "ssd300 = ssd300.training.cli.main:main" in texts["entry_points.txt"]
    for requirement in ("apache-beam", "tensorflow", "tensorflow-datasets", "importlib", "defusedxml"):
        assert f"Requires-Dist: {requirement}" in texts["METADATA"]


def test_an_unpacked_wheel_imports_with_no_sources_around(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = "import ssd300.datasets.classes as m; print(m.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "ssd300/datasets/classes.py")
