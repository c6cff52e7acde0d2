"""How a job runs: its runner, its worker processes, and how many rejected images it tolerates."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ssd300.preprocessing.runners.local_workers import LocalWorkers
from ssd300.preprocessing.support.options import check_fields, option

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

_PICTURES_PER_WORKER = 2000  # fewer are encoded before a second process has imported TensorFlow


@dataclass(frozen=True)
class Execution:
    """How a job runs; its records do not depend on it.

    Attributes:
        beam_arguments: Beam's own options, such as ``--runner=FlinkRunner``.
        ready_workers: local workers that were started early.
    """

    workers: int | None = option(
        None,
        "processes on this machine, for the local runner",
        group="execution",
        at_least=1,
        at_most=1024,
        shown="one per core, fewer for a small job",
    )
    max_rejected: float = option(
        0.01, "share of rejected images above which the job fails", at_least=0, at_most=1, metavar="SHARE"
    )
    beam_arguments: Sequence[str] = ()
    ready_workers: LocalWorkers | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    @cached_property
    def options(self) -> "PipelineOptions":
        """Beam's options; InputError if there is one that Beam does not know."""
        from ssd300.preprocessing.runners.beam_pipeline import pipeline_options

        return pipeline_options(self.beam_arguments)

    @property
    def is_local(self) -> bool:
        """Whether the job runs on this machine only."""
        from ssd300.preprocessing.runners.beam_pipeline import is_local

        return is_local(self.options)

    def workers_for(self, pictures: int) -> int:
        """The number of local processes for a job of this many images."""
        if self.workers is not None:
            return self.workers
        return max(1, min(os.cpu_count() or 1, pictures // _PICTURES_PER_WORKER))
