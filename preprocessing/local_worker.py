"""One of several worker processes on a machine: its own in-memory Beam pipeline over the shards it is told.

Run by `ssd300.preprocessing.job`: ``python -m ssd300.preprocessing.local_worker WORK``, shard keys as JSON on standard
input.
"""

import json
import os
import sys
from pathlib import Path


def main(work: str) -> None:
    """Encodes the shards named on standard input, of the plan in the folder `work`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from ssd300.preprocessing.beam_pipeline import pipeline_options, run_pipeline
    from ssd300.preprocessing.plan import Plan

    # One picture at a time on one core: several processes with a thread pool each would only push each other aside.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    plan = Plan.from_json(Path(work, "plan.json").read_text(encoding="utf-8"))
    wanted = set(json.load(sys.stdin))
    run_pipeline(
        [shard for shard in plan.shards if shard.key in wanted],
        plan.settings,
        output=str(Path(work).parent),
        reports=f"{work}/reports",
        progress=f"{work}/progress",
        options=pipeline_options([]),
    )


if __name__ == "__main__":
    main(sys.argv[1])
