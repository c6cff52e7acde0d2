"""The Beam pipeline: its options, its chain, its counters."""

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions, SetupOptions, StandardOptions

from ssd300.datasets.classes import ClassList
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.plan import make_plan
from ssd300.preprocessing.runners.beam_pipeline import (
    LOCAL_RUNNER,
    EncodeShard,
    is_local,
    pipeline_options,
    run_pipeline,
)
from ssd300.preprocessing.runners.shard_list import places_in, write_shard_list
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.encode_shard import ShardWork


def runner_of(options) -> str:
    return options.view_as(StandardOptions).runner


@pytest.mark.parametrize(
    "arguments", [[], ["--runner=DirectRunner"], ["--runner", "directrunner"], ["--runner=FnApiRunner"]], ids=str
)
def test_the_local_runner_is_named_so_that_nothing_is_downloaded(arguments):
    options = pipeline_options(arguments)
    assert is_local(options)
    assert runner_of(options) == LOCAL_RUNNER


@pytest.mark.parametrize("runner", ["FlinkRunner", "DataflowRunner", "PrismRunner"])
def test_another_runner_stays(runner):
    options = pipeline_options([f"--runner={runner}"])
    assert not is_local(options)
    assert runner_of(options) == runner


def test_beams_own_options_reach_beam():
    options = pipeline_options(
        ["--runner=DirectRunner", "--direct_num_workers", "1", "--setup_file=./setup.py", "--flink_master=[local]"]
    )
    assert options.view_as(DirectOptions).direct_num_workers == 1
    assert options.view_as(SetupOptions).setup_file == "./setup.py"
    assert options.get_all_options()["flink_master"] == "[local]"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--shards-size=3"], "--shards.size"),
        (["--nonsense"], "--nonsense"),
        (["--nonsense", "3"], "--nonsense"),
        (["--runner=DirectRunner", "--seeed=3", "--direct_num_workers=1"], "--seeed"),
        (["stray"], "stray"),
        (["--runner=DirectRunner", "stray"], "stray"),
        (["--runner", "DirectRunner", "stray"], "stray"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_arguments_that_no_one_knows_are_refused_by_name(arguments, name):
    with pytest.raises(ValueError, match=f"unknown arguments: .*{name}"):
        pipeline_options(arguments)


@pytest.fixture
def job(voc_tree, tmp_path):
    """Settings, shards and folders of a small job: one broken image, one clipped box, one image of no object."""
    pictures = {f"{number:06d}": [("ant", 30, 20, 150, 100)] for number in range(6)}
    pictures["000003"] = [("ant", -5, 20, 150, 100)]
    pictures["000005"] = []
    root = voc_tree(pictures, files={"JPEGImages/000004.jpg": b"broken"})
    settings = PreprocessSettings(
        sources=(FolderSource("train", str(root), "train"),), classes=ClassList(("ant",)), shard_size=2
    )
    for folder in ("out", "reports", "progress"):
        (tmp_path / folder).mkdir()
    return settings, make_plan(settings).shards, tmp_path


def listed(folder, shards) -> str:
    """Path of a list of these shards."""
    write_shard_list(str(folder / "shards.jsonl"), shards)
    return str(folder / "shards.jsonl")


@pytest.mark.parametrize("with_progress", [True, False])
def test_every_shard_becomes_a_file_and_a_report(job, with_progress):
    settings, shards, folder = job
    run_pipeline(
        listed(folder, shards),
        ShardWork(settings, f"{folder}/out", f"{folder}/reports", f"{folder}/progress" if with_progress else None),
        options=pipeline_options([]),
    )
    assert len(shards) == 3
    assert {path.name for path in (folder / "out").iterdir()} == {shard.name for shard in shards}
    assert {path.name for path in (folder / "reports").iterdir()} == {f"{shard.key}.json" for shard in shards}


def test_only_the_given_shards_are_encoded(job):
    settings, shards, folder = job
    run_pipeline(
        listed(folder, shards[1:2]),
        ShardWork(settings, f"{folder}/out", f"{folder}/reports"),
        options=pipeline_options([]),
    )
    assert [path.name for path in (folder / "out").iterdir()] == [shards[1].name]


def test_without_an_output_only_reports_are_written(job):
    settings, shards, folder = job
    run_pipeline(
        listed(folder, shards),
        ShardWork(settings, None, f"{folder}/reports"),
        options=pipeline_options([]),
    )
    assert not list((folder / "out").iterdir())
    assert {path.name for path in (folder / "reports").iterdir()} == {f"{shard.key}.json" for shard in shards}


def test_beams_counters_and_elements_tell_the_same_as_the_reports(job):
    settings, shards, folder = job
    pipeline = beam.Pipeline(options=pipeline_options([]))
    _ = (
        pipeline
        | beam.Create(places_in(listed(folder, shards)))
        | beam.ParDo(EncodeShard(ShardWork(settings, f"{folder}/out", f"{folder}/reports")))
        | beam.Map(lambda element: f"{element[0]} {element[1]}")
        | beam.io.WriteToText(str(folder / "elements"), shard_name_template="", append_trailing_newlines=True)
    )
    result = pipeline.run()
    result.wait_until_finish()
    counters = {metric.key.metric.name: metric.committed for metric in result.metrics().query()["counters"]}
    assert counters == {
        "read": 6, "written": 5, "rejected_undecodable_picture": 1, "repaired_clipped_box": 1, "kept_no_objects": 1,
    }  # fmt: skip
    elements = dict(line.split() for line in (folder / "elements").read_text().splitlines())
    assert elements.keys() == {shard.key for shard in shards}
    assert sum(int(written) for written in elements.values()) == 5
