"""The Beam pipeline: one linear chain over shards. Only places in a list of shards cross the shuffle."""

import argparse
import os
import platform
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners import create_runner

from ssd300.datasets.errors import InputError, StorageError
from ssd300.datasets.faults import FAULTS
from ssd300.datasets.files import is_lasting
from ssd300.preprocessing.runners.left_faults import leaving_faults
from ssd300.preprocessing.runners.shard_list import Place, places_in, read_shard
from ssd300.preprocessing.shards.encode_shard import ShardWork, encode_shard
from ssd300.preprocessing.support.quiet import hide_gpus

# Beam's DirectRunner first tries to download another runner; this is the one that it means.
LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_LOCAL_NAMES = ("", "directrunner", "fnapirunner", LOCAL_RUNNER.lower())
_NAMESPACE = "ssd300"


class EncodeShard(beam.DoFn):
    """Encodes the shard at a place into its file; gives its key and number of records, and Beam's counters.

    A fault of the storage is left for the launcher. It fails the shard's bundle, which the runner may try again, where
    the workers are elsewhere; on this machine, the launcher does that when all other shards are done.

    Args:
        work: what to do with the shards. Shared by all shards of a worker, because a TFDS source has a dataset to open.
        raising: whether a fault of the storage fails the bundle.
    """

    def __init__(self, work: ShardWork, *, raising: bool = False) -> None:
        super().__init__()
        self._work, self._raising = work, raising
        self._launcher = _this_process()
        self._hopeless = False

    def setup(self) -> None:
        """Hides the GPUs, except from the launcher, which may want to train afterwards."""
        if _this_process() != self._launcher:
            hide_gpus()

    def process(self, place: Place) -> Iterator[tuple[str, int]]:
        """Encodes the shard at `place`."""
        if self._hopeless:
            return
        shard = report = None
        with leaving_faults(self._work.reports, raising=self._raising):
            try:
                shard = read_shard(place)
                report = encode_shard(shard, self._work)
            except StorageError as error:
                self._hopeless = is_lasting(error.reason)
                raise
        if shard is None or report is None:
            return
        for name in ("read", "written"):
            beam.metrics.Metrics.counter(_NAMESPACE, name).inc(getattr(report, name))
        for reject in report.rejects:
            beam.metrics.Metrics.counter(_NAMESPACE, f"rejected_{reject.fault}").inc()
        for fault, count in report.findings.items():
            beam.metrics.Metrics.counter(_NAMESPACE, f"{FAULTS[fault].action}_{fault}").inc(count)
        yield shard.key, report.written


def _this_process() -> tuple[str, int]:
    return platform.node(), os.getpid()


def _places(path: str, reports: str, *, raising: bool) -> list[Place]:
    with leaving_faults(reports, raising=raising):
        return places_in(path)
    return []


def pipeline_options(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's options from command-line arguments, with the local in-process runner unless another is named.

    Raises:
        InputError: an argument is neither ours nor Beam's, or there is no such runner.
    """
    options = PipelineOptions(list(arguments))
    parsers: list[argparse.ArgumentParser] = []
    options.get_all_options(add_extra_args_fn=parsers.append)  # hands out the parser that knows all of Beam's options
    unknown = parsers[0].parse_known_args(list(arguments))[1]
    if unknown:
        raise InputError(f"unknown arguments: {' '.join(unknown)}; neither ssd300 nor Beam has them")
    if is_local(options):
        options.view_as(StandardOptions).runner = LOCAL_RUNNER
        return options
    try:
        create_runner(options.view_as(StandardOptions).runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(str(error)) from None
    return options


def is_local(options: PipelineOptions) -> bool:
    """Whether the options mean the in-process runner."""
    return (options.view_as(StandardOptions).runner or "").lower() in _LOCAL_NAMES


def run_pipeline(shards: str, work: ShardWork, *, options: PipelineOptions) -> None:
    """Encodes the shards of a list and waits for the end. What was really written is for the files to say.

    Args:
        shards: path of a list that `ssd300.preprocessing.runners.shard_list` wrote, which all workers can read.
        work: what to do with them.
        options: Beam's.
    """
    pipeline, raising = beam.Pipeline(options=options), not is_local(options)
    _ = (
        pipeline
        | "List" >> beam.Create([shards], reshuffle=False)
        | "Places" >> beam.FlatMap(_places, work.reports, raising=raising)
        | "Spread" >> beam.Reshuffle()
        | "EncodeShard" >> beam.ParDo(EncodeShard(work, raising=raising))
    )
    pipeline.run().wait_until_finish()
