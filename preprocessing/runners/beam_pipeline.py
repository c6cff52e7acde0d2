"""The Beam pipeline: one linear chain over shards. Only places in a list of shards cross the shuffle."""

import argparse
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from ssd300.datasets.faults import FAULTS
from ssd300.preprocessing.runners.shard_list import Place, places_in, read_shard
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.encode_shard import encode_shard
from ssd300.preprocessing.support.progress import ticker

# Beam's DirectRunner first tries to download another runner; this is the one that it means.
LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_LOCAL_NAMES = ("", "directrunner", "fnapirunner", LOCAL_RUNNER.lower())
_NAMESPACE = "ssd300"


class EncodeShard(beam.DoFn):
    """Encodes the shard at a place into its file; gives its key and number of records, and Beam's counters.

    Args:
        settings: the job's. Read once for all shards of a worker: a TFDS source has a dataset to open.
        output: folder of the dataset; None to check the pictures and write no record.
        reports: folder of the shards' reports.
        progress: folder of the progress files, None on other machines than the launcher's.
    """

    def __init__(self, settings: PreprocessSettings, output: str | None, reports: str, progress: str | None) -> None:
        super().__init__()
        self._settings, self._output, self._reports, self._progress = settings, output, reports, progress

    def process(self, place: Place) -> Iterator[tuple[str, int]]:
        """Encodes the shard at `place`."""
        shard = read_shard(place)
        tick = None if self._progress is None else ticker(self._progress)
        report = encode_shard(shard, self._settings, output=self._output, reports=self._reports, tick=tick)
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
        ValueError: an argument is neither ours nor Beam's.
    """
    options = PipelineOptions(list(arguments))
    parsers: list[argparse.ArgumentParser] = []
    options.get_all_options(add_extra_args_fn=parsers.append)  # hands out the parser that knows all of Beam's options
    unknown = parsers[0].parse_known_args(list(arguments))[1]
    if unknown:
        raise ValueError(f"unknown arguments: {' '.join(unknown)}; neither ssd300 nor Beam has them")
    if is_local(options):
        options.view_as(StandardOptions).runner = LOCAL_RUNNER
    return options


def is_local(options: PipelineOptions) -> bool:
    """Whether the options mean the in-process runner."""
    return (options.view_as(StandardOptions).runner or "").lower() in _LOCAL_NAMES


def run_pipeline(
    shards: str,
    settings: PreprocessSettings,
    *,
    output: str | None,
    reports: str,
    progress: str | None,
    options: PipelineOptions,
) -> None:
    """Encodes the shards of a list and waits for the end. What was really written is for the files to say.

    Args:
        shards: path of a list that `ssd300.preprocessing.runners.shard_list` wrote, which all workers can read.
        settings: the job's.
        output: folder of the dataset; None to check the pictures and write no record.
        reports: folder of the shards' reports.
        progress: folder of the progress files, None on other machines than the launcher's.
        options: Beam's.
    """
    pipeline = beam.Pipeline(options=options)
    _ = (
        pipeline
        | "List" >> beam.Create([shards], reshuffle=False)
        | "Places" >> beam.FlatMap(places_in)
        | "Spread" >> beam.Reshuffle()
        | "EncodeShard" >> beam.ParDo(EncodeShard(settings, output, reports, progress))
    )
    pipeline.run().wait_until_finish()
