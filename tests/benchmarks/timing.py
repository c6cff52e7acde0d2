"""What the benchmarks share: rates, repeated and reported as ratios against a baseline of the same run."""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

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
