"""The folder mapping only: the four folders of this repository install as ``ssd300.<folder>``.

Everything else is in ``pyproject.toml``, which cannot say this, and Beam's ``--setup_file`` wants a ``setup.py``.
"""

from setuptools import find_packages, setup

TOP = ("datasets", "model", "preprocessing", "training")

setup(
    packages=[f"ssd300.{found}" for found in find_packages(include=[p for top in TOP for p in (top, f"{top}.*")])],
    package_dir={"ssd300": "."},
    # ssd300 is a namespace package, so each of its parts says that it has types (PEP 561).
    package_data={f"ssd300.{top}": ["py.typed", "*.pyi"] for top in TOP},
)
