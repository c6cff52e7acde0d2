"""What the benchmarks share: rates, repeated and reported as ratios against a baseline of the same run."""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def rate(work: Callable[[], int], *, seconds: float = 2.0, repeats: int = 3) -> float:
    """Things a second that `work` (which returns how many it did) does: the median of several runs, after a warm-up."""
    work()
    rates = []
    for _ in range(repeats):
        done, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds / repeats:
            done += work()
        rates.append(done / elapsed)
    return statistics.median(rates)


def subprocess_rate(script: Path, *arguments: Any) -> float | None:
    """The rate that another program prints; None, with its last words, where it cannot run."""
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"skipped {script.name}: {done.stderr.strip().splitlines()[-1:]}; is the extra `benchmarks` installed?")
        return None
    return float(done.stdout.split()[-1])


def in_turns(contenders: dict[str, Callable[[], float | None]], *, rounds: int) -> dict[str, float]:
    """The median rate of each, all measured in every round: a machine's speed drifts while a benchmark runs.

    A contender that gives None is left out.
    """
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in list(contenders.items()):
            value = measure()
            if value is None:
                del contenders[name], found[name]
            else:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def report(title: str, unit: str, rates: dict[str, float]) -> None:
    """Prints a table; the first entry is the baseline of the ratios."""
    baseline = next(iter(rates.values()))
    print(f"\n{title} ({unit}; {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()})")
    for name, value in rates.items():
        print(f"  {name:<52}{value:>10.1f}{value / baseline:>8.2f}x")


def real_data(parser: argparse.ArgumentParser) -> Path:
    """The folder of real data that SSD300_REAL_DATA names; ends the benchmark with a message where there is none."""
    folder = os.environ.get("SSD300_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        parser.exit(0, "skipped: set SSD300_REAL_DATA to the folder that holds voc07_train/\n")
    return Path(folder)
