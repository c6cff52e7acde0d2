"""Packaging: the four folders of this repository install as ``ssd300.<folder>``."""

from pathlib import Path

from setuptools import find_packages, setup

TOP = ("datasets", "model", "preprocessing", "training")
FOUND = find_packages(include=[pattern for top in TOP for pattern in (top, f"{top}.*")])

# The versions in the middle of these ranges are the ones that the tests ran with; a lower bound is the oldest
# release whose API the code uses, an upper bound the next one that may break it.
INSTALL_REQUIRES = [
    "apache-beam>=2.65,<3",
    "defusedxml>=0.7.1,<0.8",
    "h5py>=3.11,<4",
    "importlib_resources>=6,<8",  # tensorflow-datasets 4.9.10 imports it and does not declare it
    "keras>=3.10,<4",
    "matplotlib>=3.9,<4",
    "numpy>=1.26,<3",
    "pillow>=10.4,<13",
    "tensorboard>=2.19,<3",  # writes the scalars; TensorFlow itself no longer depends on it
    "tensorflow>=2.19,<3",
    "tensorflow-datasets>=4.9.8,<5",
    "tqdm>=4.66,<5",
]

EXTRAS_REQUIRE = {
    "gcp": ["apache-beam[gcp]>=2.65,<3"],  # Dataflow and gs:// paths
    "test": ["hypothesis>=6.100,<7", "psutil>=5.9,<8", "pytest>=8.3,<10", "pytest-xdist>=3.6,<4"],
    # What the benchmarks are run beside; Linux alone has DALI.
    "benchmarks": [
        'nvidia-dali-cuda120>=1.50,<3; sys_platform == "linux"',
        "opencv-python-headless>=4.10,<6",
    ],
    "lint": ["mypy==2.4.1", "ruff==0.17.6"],
}

setup(
    name="ssd300",
    version="0.1.0",
    description="SSD300 object detection for TensorFlow and Keras 3, with the data first",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[f"ssd300.{package}" for package in FOUND],
    package_dir={"ssd300": "."},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={"console_scripts": ["ssd300 = ssd300.training.cli.main:main"]},
)
