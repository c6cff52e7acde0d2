import json
import shutil

import pytest
from helpers import content, exit_code

from ssd300.datasets.errors import InputError
from ssd300.training import demo as demo_module
from ssd300.training.demo import run_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "runs" / "demo"
    return output, run_demo(output, steps=3, pictures=(16, 6))


def test_leaves_what_it_promises(demo):
    output, printed = demo
    for name in ("metrics.json", "history.png", "precision_recall.png", "detections.jpg", "report.html"):
        assert (output / name).stat().st_size > 500
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["pictures"] == 6
    assert set(metrics["mAP"]) == {"voc2007", "voc2010"}
    assert metrics["seconds_in_all"] > 0
    assert "report.html" in printed


def test_the_report_needs_no_network(demo):
    page = (demo[0] / "report.html").read_text()
    assert page.count("data:image/") == 3
    assert "http" not in page.split("base64")[0]
    assert 'src="data:image/png;base64,iVBOR' in page  # a PNG's first bytes


def test_a_second_demo_replaces_the_first(tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_module, "write_shapes_tree", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_demo(tmp_path / "demo")
        assert {path.name for path in (tmp_path / "demo").iterdir()} == {".ssd300-demo"}
        (tmp_path / "demo/voc").mkdir()
        (tmp_path / "demo/metrics.json").touch()


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for reason in (r"is not empty and was not left by an earlier demo", r"holds thesis\.txt, which no demo made"):
        with pytest.raises(InputError, match=reason):
            run_demo(tmp_path)
        assert (tmp_path / "thesis.txt").read_text() == "years of work"
        (tmp_path / ".ssd300-demo").touch()  # a demo was here, but the other file is not its own


@pytest.mark.parametrize(
    "name", ["run/evaluation-test/metrics.json", "voc/JPEGImages/holiday.jpg", "dataset/notes.txt"]
)
def test_what_someone_has_put_into_a_demo_is_named_and_kept(demo, tmp_path, name):
    output = tmp_path / "demo"
    shutil.copytree(demo[0], output)
    (output / name).parent.mkdir(exist_ok=True)
    (output / name).write_text("mine")
    before = content(output)
    with pytest.raises(InputError, match=f"holds {name}, which no demo made"):
        run_demo(output)
    assert content(output) == before


def test_a_link_in_a_demo_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/.ssd300-demo").touch()
    (tmp_path / "demo/voc").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="holds voc, which no demo made"):
        run_demo(tmp_path / "demo")


def test_a_seed_that_cannot_be_used_deletes_nothing(tmp_path):
    (tmp_path / ".ssd300-demo").touch()
    (tmp_path / "metrics.json").write_text("mine")
    with pytest.raises(InputError, match="seed must be at least 0 and"):
        run_demo(tmp_path, seed=-1)
    assert exit_code(["demo", "--output", str(tmp_path), "--seed", "-1"]) == 2
    assert (tmp_path / "metrics.json").read_text() == "mine"


def test_all_that_a_demo_leaves_is_replaced_by_the_next(demo, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    output = tmp_path / "demo"
    shutil.copytree(demo[0], output)
    monkeypatch.setattr(demo_module, "write_shapes_tree", stop)
    with pytest.raises(KeyboardInterrupt):
        run_demo(output)
    assert [path.name for path in output.iterdir()] == [".ssd300-demo"]
