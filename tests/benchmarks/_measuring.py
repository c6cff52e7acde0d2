"""What the benchmarks share: their options and sizes, rates measured in turns, and reports as ratios to a baseline."""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

CONTENDERS = Path(__file__).parent / "contenders"
_PACKAGES = (
    "tensorflow",
    "keras",
    "apache-beam",
    "tensorflow-datasets",
    "numpy",
    "nvidia-dali-cuda120",
    "opencv-python-headless",
)


class Size(NamedTuple):
    """An option of a benchmark: its default, its value under ``--quick``, and its help."""

    default: Any
    quick: Any
    help: str


def read_arguments(description: str, *, only: Sequence[str] = ("ours",), **sizes: Size) -> argparse.Namespace:
    """Reads a benchmark's command line and prints it with what the figures depend on.

    Args:
        description: what ``--help`` says first.
        only: what ``--only`` may restrict the benchmark to.
        **sizes: the options; a list takes several values.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run everything once, as small as possible")
    parser.add_argument("--only", choices=only, help="run this part only (ours: to compare two checkouts)")
    for name, size in sizes.items():
        first, several = (size.default[0], "+") if isinstance(size.default, list) else (size.default, None)
        text = f"{size.help} (default: %(default)s)"
        parser.add_argument(f"--{name}", type=type(first), nargs=several, default=size.default, help=text)
    if "--quick" in sys.argv:
        parser.set_defaults(**{name: size.quick for name, size in sizes.items()})
    arguments = parser.parse_args()
    print(f"$ python tests/benchmarks/{' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}")
    print(_machine())
    print(", ".join(f"{name} {getattr(arguments, name)}" for name in sizes), flush=True)
    return arguments


def _machine() -> str:
    """Machine, versions and date, as one line."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    versions = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {cpu}, {', '.join(versions)}"


def is_installed(module: str) -> bool:
    """Whether a contender's module is installed; says what to install if it is not."""
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that would hold it
        found = False
    if not found:
        print(f"skipped: {module} is not installed; pip install -e '.[benchmarks]'")
    return found


def rate(work: Callable[[], int], *, seconds: float) -> float:
    """Things per second that `work` (which returns how many it did) does, after a warm-up."""
    work()
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        done += work()
    return done / elapsed


def subprocess_output(script: str, *arguments: Any, python: str = sys.executable) -> str:
    """What a contender prints, run by an interpreter; ends the benchmark if it fails."""
    command = [python, str(CONTENDERS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def subprocess_rate(script: str, *arguments: Any) -> float:
    """The rate that a contender prints last."""
    return float(subprocess_output(script, *arguments).split()[-1])


def wanted(contenders: Mapping[str, Any], only: str | None) -> dict[str, Any]:
    """All contenders, or ours only, whose names begin with ``ssd300``."""
    return {name: value for name, value in contenders.items() if only is None or name.startswith("ssd300")}


def in_turns(contenders: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, float]:
    """The median rate of each, all measured in every round: a machine's speed drifts while a benchmark runs."""
    found = [{name: measure() for name, measure in contenders.items()} for _ in range(rounds)]
    return {name: statistics.median(values[name] for values in found) for name in contenders}


def report(title: str, unit: str, values: Mapping[str, float], notes: Mapping[str, str] | None = None) -> None:
    """Prints a table of values, their ratios to the first, the baseline, and a note on each if there are any."""
    baseline = next(iter(values.values()))
    print(f"\n{title}\n  {'':<48}{unit:>20}   ratio")
    for name, value in values.items():
        print(f"  {name:<48}{value:>20,.2f}{value / baseline:>7.2f}x  {(notes or {}).get(name, '')}".rstrip())
    sys.stdout.flush()
