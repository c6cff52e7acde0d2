"""The Beam pipeline: one linear chain over shards. Only places in a list of shards cross the shuffle."""

import argparse
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners import create_runner

from ssd300.datasets.errors import InputError
from ssd300.datasets.faults import FAULTS
from ssd300.preprocessing.runners.shard_list import Place, places_in, read_shard
from ssd300.preprocessing.shards.encode_shard import ShardWork, encode_shard

# Beam's DirectRunner first tries to download another runner; this is the one that it means.
LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_LOCAL_NAMES = ("", "directrunner", "fnapirunner", LOCAL_RUNNER.lower())
_NAMESPACE = "ssd300"


class EncodeShard(beam.DoFn):
    """Encodes the shard at a place into its file; gives its key and number of records, and Beam's counters.

    Args:
        work: what to do with the shards. Shared by all shards of a worker, because a TFDS source has a dataset to open.
    """

    def __init__(self, work: ShardWork) -> None:
        super().__init__()
        self._work = work

    def process(self, place: Place) -> Iterator[tuple[str, int]]:
        """Encodes the shard at `place`."""
        shard = read_shard(place)
        report = encode_shard(shard, self._work)
        for name in ("read", "written"):
            beam.metrics.Metrics.counter(_NAMESPACE, name).inc(getattr(report, name))
        for reject in report.rejects:
            beam.metrics.Metrics.counter(_NAMESPACE, f"rejected_{reject.fault}").inc()
        for fault, count in report.findings.items():
            beam.metrics.Metrics.counter(_NAMESPACE, f"{FAULTS[fault].action}_{fault}").inc(count)
        yield shard.key, report.written


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
    pipeline = beam.Pipeline(options=options)
    _ = (
        pipeline
        | "List" >> beam.Create([shards], reshuffle=False)
        | "Places" >> beam.FlatMap(places_in)
        | "Spread" >> beam.Reshuffle()
        | "EncodeShard" >> beam.ParDo(EncodeShard(work))
    )
    pipeline.run().wait_until_finish()
