"""The Beam pipeline: one linear chain over shards. Only names cross the shuffle."""

import argparse
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from ssd300.preprocessing.encode_shard import encode_shard
from ssd300.preprocessing.plan import Shard
from ssd300.preprocessing.progress import ticker
from ssd300.preprocessing.settings import PreprocessSettings

# Beam's DirectRunner first tries to download another runner; this is the one that it means.
LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_LOCAL_NAMES = ("", "directrunner", "fnapirunner", LOCAL_RUNNER.lower())
_NAMESPACE = "ssd300"


class EncodeShard(beam.DoFn):
    """Encodes a shard into its file; gives back the shard's key and number of records, and Beam's counters.

    Args:
        settings: the job's.
        output: folder of the dataset.
        reports: folder of the shards' reports.
        progress: folder of the progress files, None on other machines than the launcher's.
    """

    def __init__(self, settings: PreprocessSettings, output: str, reports: str, progress: str | None) -> None:
        super().__init__()
        self._settings, self._output, self._reports, self._progress = settings, output, reports, progress

    def process(self, shard: Shard) -> Iterator[tuple[str, int]]:
        """Encodes `shard`."""
        tick = None if self._progress is None else ticker(self._progress)
        report = encode_shard(shard, self._settings, output=self._output, reports=self._reports, tick=tick)
        for name in ("read", "written"):
            beam.metrics.Metrics.counter(_NAMESPACE, name).inc(getattr(report, name))
        for reject in report.rejects:
            beam.metrics.Metrics.counter(_NAMESPACE, f"rejected_{reject.fault}").inc()
        for fault, count in report.repaired.items():
            beam.metrics.Metrics.counter(_NAMESPACE, f"repaired_{fault}").inc(count)
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
    shards: Iterable[Shard],
    settings: PreprocessSettings,
    *,
    output: str,
    reports: str,
    progress: str | None,
    options: PipelineOptions,
) -> None:
    """Encodes the shards and waits for the end. What was really written is for the files to say."""
    pipeline = beam.Pipeline(options=options)
    _ = (
        pipeline
        | "Shards" >> beam.Create(list(shards), reshuffle=False)
        | "Spread" >> beam.Reshuffle()
        | "EncodeShard" >> beam.ParDo(EncodeShard(settings, output, reports, progress))
    )
    pipeline.run().wait_until_finish()
