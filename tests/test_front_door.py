"""The front door: the public names of the four packages, imported when first used, and their examples in the docs."""

import doctest
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs/python.md"
PACKAGES = ("datasets", "model", "preprocessing", "training")
NAMES = [(package, name) for package in PACKAGES for name in importlib.import_module(f"ssd300.{package}").__all__]
CONSTANTS = {"ARTICLE", "PAPER", "VOC"}


def public(package: str, name: str) -> object:
    return getattr(importlib.import_module(f"ssd300.{package}"), name)


@pytest.fixture(scope="module")
def shapes_run(shapes_dataset, tmp_path_factory) -> Path:
    """Folder of a run of two steps. Read only."""
    from ssd300.preprocessing.augmentation.settings import NO_AUGMENTATION
    from ssd300.training import TrainSettings, train

    quick = {"width": 0.05, "weights": "none", "augmentation": NO_AUGMENTATION}
    settings = TrainSettings(shapes_dataset, batch_size=2, steps=2, **quick)
    return train(settings, tmp_path_factory.mktemp("runs") / "shapes").path


@pytest.fixture
def desk(shapes_dataset, shapes_run, tmp_path, monkeypatch) -> None:
    """A working folder with what the examples name: the tree ``shapes``, ``data/shapes`` and ``runs/shapes``."""
    (tmp_path / "data").mkdir()
    (tmp_path / "shapes").symlink_to(Path(shapes_dataset).with_name("tree"))
    (tmp_path / "data/shapes").symlink_to(shapes_dataset)
    shutil.copytree(shapes_run, tmp_path / "runs/shapes")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_each_name_is_what_its_module_defines(package, name):
    value = public(package, name)
    if name not in CONSTANTS:
        assert value.__name__ == name
        assert value.__module__.startswith(f"ssd300.{package}.")


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_the_page_has_an_example_of_each_name(package, name):
    section = PAGE.read_text(encoding="utf-8").split(f"`ssd300.{package}`\n", 1)[1].split("\n## ", 1)[0]
    examples = [example.source for example in doctest.DocTestParser().get_examples(section)]
    imports = [source for source in examples if source.startswith(f"from ssd300.{package} import")]
    uses = [source for source in examples if "import" not in source]
    assert any(re.search(rf"\b{name}\b", source) for source in imports)
    assert any(re.search(rf"\b{name}\b", source) for source in uses)


@pytest.mark.usefixtures("desk")
def test_the_examples_run():
    said: list[str] = []
    test = doctest.DocTestParser().get_doctest(PAGE.read_text(encoding="utf-8"), {}, PAGE.name, str(PAGE), 0)
    done = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    assert not said, "".join(said)
    assert done.attempted > 40


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_hides_a_module(package):
    module = importlib.import_module(f"ssd300.{package}")
    assert not {found.name for found in pkgutil.iter_modules(module.__path__)} & set(module.__all__)
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"ssd300.{package} attribute nothing"):
        public(package, "nothing")


def test_importing_the_packages_imports_nothing_else():
    script = f"import sys; {'; '.join(f'import ssd300.{package}' for package in PACKAGES)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("ssd300.")} == {f"ssd300.{package}" for package in PACKAGES}
    assert not loaded & {"numpy", "tensorflow", "keras", "apache_beam"}
