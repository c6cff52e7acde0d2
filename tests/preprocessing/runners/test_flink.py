"""The job on a real Flink, with workers of this process and of a worker pool: the same bytes as on the local runner."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import content

from ssd300.datasets.classes import ClassList
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.settings import PreprocessSettings

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def flink() -> list[str]:
    """Beam's options for a Flink inside a job server on this machine."""
    jar = Path(os.environ.get("SSD300_FLINK_JOB_SERVER", REPOSITORY / ".flink/job-server.jar"))
    if not shutil.which("java"):
        pytest.skip("there is no Java on this machine to run Flink")
    if not jar.is_file():
        pytest.skip(f"{jar} is not there; `make flink` fetches it with Maven, where Maven's registry can be reached")
    return ["--runner=FlinkRunner", "--flink_master=[local]", f"--flink_job_server_jar={jar}", "--parallelism=2"]


@pytest.fixture
def settings(voc_tree) -> PreprocessSettings:
    """Settings of 12 images in 4 shards: one undecodable, one without XML, one clipped, one negative."""
    pictures = {f"{number:06d}": [("ant", number + 1, 20, 150, 100), ("bee", 9, 50, 280, 190)] for number in range(12)}
    pictures |= {"000003": [("ant", -5, 20, 150, 100)], "000007": []}
    files = {"JPEGImages/000002.jpg": b"broken", "Annotations/000005.xml": None}
    root = voc_tree(pictures, files=files)
    source = FolderSource("train", str(root), "train")
    return PreprocessSettings(sources=(source,), classes=ClassList(("ant", "bee")), shard_size=3)


@pytest.fixture
def worker_pool() -> Iterator[str]:
    """Address of a worker pool, as it runs next to each of a cluster's task managers."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    # The pool starts the `python` that it finds.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    pool = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert pool.stderr is not None
    for line in pool.stderr:
        if "Started worker pool" in line:
            break
    yield f"localhost:{port}"
    pool.terminate()
    pool.communicate(timeout=30)


def test_the_records_and_reports_of_flink_are_those_of_the_local_runner(settings, flink, worker_pool, tmp_path):
    environments = {
        "local": None,
        "loopback": [*flink, "--environment_type=LOOPBACK"],
        "pool": [*flink, "--environment_type=EXTERNAL", f"--environment_config={worker_pool}"],
    }
    for name, arguments in environments.items():
        report = preprocess(settings, str(tmp_path / name), Execution(beam_arguments=arguments or (), max_rejected=0.2))
        assert (report["total"]["read"], report["total"]["written"], report["total"]["rejected"]) == (12, 10, 2)
    local = content(tmp_path / "local")
    assert len([name for name in local if "tfrecord" in name]) == 4
    for name in ("loopback", "pool"):
        # Rejects name files of the tree, which is the same for all.
        other = content(tmp_path / name)
        assert [path for path in local.keys() | other.keys() if local.get(path) != other.get(path)] == [], name
