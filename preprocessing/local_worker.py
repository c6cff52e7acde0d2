"""One of several worker processes on a machine: its own in-memory Beam pipeline over the shards it is told.

Run by `ssd300.preprocessing.job`: ``python -m ssd300.preprocessing.local_worker WORK TASK``, the task a JSON file with
the shards' keys and Beam's arguments.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from ssd300.preprocessing.quiet import import_tensorflow, quiet_import


def main(work: str, task: str) -> None:
    """Encodes the shards that `task` names, of the plan in the folder `work`."""
    threading.Thread(target=_end_with_the_launcher, args=(os.getppid(),), daemon=True).start()
    import_tensorflow(threads=1)
    with quiet_import():
        from ssd300.preprocessing.beam_pipeline import pipeline_options, run_pipeline
    from ssd300.preprocessing.plan import Plan

    plan = Plan.from_json(Path(work, "plan.json").read_text(encoding="utf-8"))
    told = json.loads(Path(task).read_text(encoding="utf-8"))
    wanted = set(told["shards"])
    run_pipeline(
        [shard for shard in plan.shards if shard.key in wanted],
        plan.settings,
        output=str(Path(work).parent),
        reports=f"{work}/reports",
        progress=f"{work}/progress",
        options=pipeline_options(told["beam_arguments"]),
    )


def _end_with_the_launcher(launcher: int) -> None:
    """Ends this process when its launcher was killed: nobody waits for its shards any more."""
    while os.getppid() == launcher:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
