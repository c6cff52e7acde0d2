"""The packaging: four folders install as ``ssd300.<folder>``, and who imports whom follows the import rule."""

import ast
import importlib
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The folders that each folder may import from, next to itself.
MAY_IMPORT = {
    "datasets": set(),
    "model": set(),
    "preprocessing": {"datasets", "model"},
    "training": {"datasets", "model", "preprocessing"},
}
# Inside preprocessing each part imports itself and those before it; parts of one line do not know each other.
PREPROCESSING = (
    {"checking", "encoding", "support"},
    {"augmentation"},
    {"settings"},
    {"plan"},
    {"shards"},
    {"report"},
    {"runners"},
    {"job_folder"},
    {"job"},
)
LINE = {part: line for line, parts in enumerate(PREPROCESSING) for part in parts}
SOURCES = [path.relative_to(ROOT) for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py"))]
CONTENT = {f"ssd300/{path.as_posix()}" for path in SOURCES} | {
    f"ssd300/{folder}/{name}" for folder in MAY_IMPORT for name in ("py.typed", "__init__.pyi")
}


def module_of(path: Path) -> str:
    return ".".join(("ssd300", *path.with_suffix("").parts)).removesuffix(".__init__")


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports_of(tree: ast.AST, *, types: bool = True) -> set[str]:
    """Names of the modules that a source imports anywhere in it; ``from a import b`` counts as ``a`` and ``a.b``.

    Without `types` it leaves out what only a type checker imports.
    """
    names = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in line {node.lineno}"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif types or not is_for_types(node):
            names |= imports_of(node, types=types)
        else:
            names |= {name for other in node.orelse for name in imports_of(other)}
    return names


TREES = {path: ast.parse((ROOT / path).read_text(encoding="utf-8")) for path in SOURCES}
RUN_TIME_IMPORTS = {module_of(path): imports_of(tree, types=False) for path, tree in TREES.items()}


def test_there_are_sources_in_every_folder():
    assert {path.parts[0] for path in SOURCES} == set(MAY_IMPORT)


def breaks_the_rule(importer: tuple[str, ...], imported: tuple[str, ...]) -> bool:
    """Whether a module may not import another; both as the parts of their names, without ``ssd300``."""
    if importer[:2] == ("model", "weights") and imported[0] == "datasets":
        return False  # weights come with class lists, and with files that people have to fix
    if importer[0] != imported[0]:
        return imported[0] not in MAY_IMPORT[importer[0]]
    if importer[0] != "preprocessing" or len(importer) == 1 or len(imported) == 1 or importer[1] == imported[1]:
        return False
    return LINE[imported[1]] >= LINE[importer[1]]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_the_import_rule(path):
    importer = tuple(module_of(path).split(".")[1:])
    for name in imports_of(TREES[path]):
        first, *rest = name.split(".")
        assert first not in MAY_IMPORT, f"{path} imports the top-level name {name}"
        if first == "ssd300" and rest:
            assert not breaks_the_rule(importer, tuple(rest)), f"{path} imports {name}"


@pytest.mark.parametrize(
    ("importer", "imported", "breaks"),
    [
        ("model.spec", "datasets.errors", True),
        ("model.weights.load", "datasets.classes", False),
        ("model.weights.load", "training.settings", True),
        ("datasets.record", "model.spec", True),
        ("datasets.record", "datasets.sources.base", False),
        ("preprocessing.plan", "training.settings", True),
        ("training.fit", "model", False),
        ("preprocessing.encoding.targets", "preprocessing.support.options", True),
        ("preprocessing.augmentation.batch", "preprocessing.encoding.targets", False),
        ("preprocessing.shards.copies", "preprocessing.shards.identity", False),
        ("preprocessing.shards.copies", "preprocessing.report.summary", True),
        ("preprocessing.job", "preprocessing.job_folder", False),
        ("preprocessing.job_folder", "preprocessing.job", True),
    ],
)
def test_what_breaks_the_import_rule(importer, imported, breaks):
    assert breaks_the_rule(tuple(importer.split(".")), tuple(imported.split("."))) == breaks


def all_imports_from(module: str) -> set[str]:
    """What importing a module of ours can import at all, through our own modules and the packages that they are in."""
    found, pending = set(), [module]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        pending += [*RUN_TIME_IMPORTS.get(name, ()), *filter(None, [name.rpartition(".")[0]])]
    return found


@pytest.mark.parametrize(
    "module",
    [
        "ssd300.model.boxes",
        "ssd300.model.default_boxes",
        "ssd300.model.box_coder",
        "ssd300.model.spec",
        "ssd300.preprocessing.shards.encode_shard",
        "ssd300.preprocessing.runners.beam_pipeline",
        "ssd300.preprocessing.runners.local_workers",
    ],
)
def test_what_a_beam_worker_imports_has_no_keras(module):
    imported = all_imports_from(module)
    assert module in RUN_TIME_IMPORTS
    assert not {name for name in imported if name.split(".")[0] == "keras" or name.startswith("tensorflow.keras")}


def test_the_search_for_keras_can_find_it():
    assert any(name.split(".")[0] == "keras" for name in all_imports_from("ssd300.model.ssd300"))


@pytest.mark.parametrize("folder", MAY_IMPORT)
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
def clone(tmp_path_factory) -> Path:
    """A copy of the repository to build in: a build leaves folders next to setup.py."""
    copy = tmp_path_factory.mktemp("clone") / "source"
    for name in (*MAY_IMPORT, "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


def build_wheel(source: Path, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed")
    command = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--no-build-isolation", "--no-index"]
    run([*command, "--wheel-dir", str(folder)], folder)
    (built,) = folder.glob("*.whl")
    return built


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(clone, tmp_path_factory) -> Path:
    return build_wheel(clone, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(clone, tmp_path_factory) -> Path:
    """A source distribution, made as Beam makes it for ``--setup_file=./setup.py``."""
    folder = tmp_path_factory.mktemp("sdist")
    run([sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(folder)], clone)
    (built,) = folder.glob("*.tar.gz")
    return built


def test_a_wheel_holds_every_source_under_ssd300_and_nothing_next_to_it(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "ssd300/datasets/annotation.py" in names
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == CONTENT
    top = {name.split("/")[0] for name in names}
    assert top == {"ssd300", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}


def test_an_sdist_holds_the_four_folders_and_what_builds_them(sdist):
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    ours = {name for name in names if not name.startswith("ssd300.egg-info/")}
    assert {name.removeprefix("ssd300/") for name in CONTENT} <= ours
    assert {name for name in ours if name.partition("/")[0] not in MAY_IMPORT} == {
        "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg", "setup.py",
    }  # fmt: skip


def test_an_sdist_builds_the_same_wheel(sdist, wheel, tmp_path):
    expected, got = zipfile.ZipFile(wheel), zipfile.ZipFile(build_wheel(sdist, tmp_path))
    assert set(got.namelist()) == set(expected.namelist())
    assert all(got.read(name) == expected.read(name) for name in CONTENT)


def test_a_wheel_carries_command_and_requirements(wheel):
    archive = zipfile.ZipFile(wheel)
    texts = {Path(name).name: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}
    assert "ssd300 = ssd300.training.cli.main:main" in texts["entry_points.txt"]
    for requirement in ("apache-beam", "tensorflow", "tensorflow-datasets", "importlib", "defusedxml"):
        assert f"Requires-Dist: {requirement}" in texts["METADATA"]


def test_an_unpacked_wheel_imports_with_no_sources_around(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = "import ssd300.datasets.classes as m; print(m.__file__)"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}"]
    assert run(command, tmp_path).strip() == str(tmp_path / "ssd300/datasets/classes.py")


def test_pre_commit_has_the_ruff_of_the_lint_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (revision,) = re.findall(r"ruff-pre-commit\n +rev: v(\S+)", config)
    assert f"ruff=={revision}" in project["optional-dependencies"]["lint"]
