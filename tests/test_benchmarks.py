"""Each benchmark runs with ``--quick``, so that none rots; the figures of such a run mean nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent / "benchmarks").glob("[a-z]*.py"))
_FAST = ("encoding", "plan")
WANTED = {
    "accuracy": ["ssd300 finetune", "steps"],
    "encoding": ["ssd300, one image", "NumPy, dense"],
    "input_pipeline": ["ssd300, all of the paper's steps", "ssd300, decode and resize only"],
    "overfit": ["eight images: 2 steps", "voc07_train: mean losses"],
    "plan": ["ssd300 plan and lists of shards", "read, shuffle and write the names"],
    "preprocess": ["process pool, 2 workers", "ssd300 preprocess --workers 2", "TFDS builder"],
    "training_step": ["ssd300 training step"],
}


def test_every_benchmark_is_known():
    assert {script.stem for script in SCRIPTS} == WANTED.keys()


@pytest.mark.parametrize(
    "script",
    [pytest.param(script, marks=[] if script.stem in _FAST else pytest.mark.slow) for script in SCRIPTS],
    ids=[script.stem for script in SCRIPTS],
)
def test_a_quick_run_reports_every_contender(script, tmp_path):
    command = [sys.executable, str(script), "--quick"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [name for name in WANTED[script.stem] if name not in done.stdout] == []
    assert not list(tmp_path.iterdir())
