"""Progress: workers append, the launcher's bar follows and ends at the whole."""

import time
from pathlib import Path

import pytest

from ssd300.preprocessing.support import progress
from ssd300.preprocessing.support.progress import ProgressBar, ticker


def bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def test_ticks_become_bytes_in_batches(tmp_path):
    tick = ticker(str(tmp_path))
    for _ in range(100):
        tick(1)
    assert 100 - progress._BATCH < bytes_in(tmp_path) <= 100
    tick(50)
    assert 150 - progress._BATCH < bytes_in(tmp_path) <= 150


def test_every_worker_has_a_file_of_its_own(tmp_path):
    for _ in range(3):
        ticker(str(tmp_path))(20)
    assert len(list(tmp_path.iterdir())) == 3
    assert bytes_in(tmp_path) == 60


def test_the_bar_follows_the_files_and_starts_at_what_was_done(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_INTERVAL", 0.01)
    with ProgressBar(str(tmp_path), pictures=100, done=40) as bar:
        assert bar._bar.n == 40
        ticker(str(tmp_path))(32)
        deadline = time.monotonic() + 10
        while bar._bar.n < 72 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert bar._bar.n == 72
    assert bar._bar.n == 100


def test_retried_pictures_do_not_lead_beyond_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_INTERVAL", 0.01)
    with ProgressBar(str(tmp_path), pictures=20, done=0) as bar:
        ticker(str(tmp_path))(64)
        deadline = time.monotonic() + 10
        while bar._bar.n < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert bar._bar.n == 20


def test_a_failed_job_does_not_look_finished(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_INTERVAL", 0.01)
    bar = ProgressBar(str(tmp_path), pictures=20, done=3)
    with pytest.raises(RuntimeError, match="lost"), bar:
        raise RuntimeError("lost")
    assert bar._bar.n == 3
    assert not bar._thread.is_alive()


def test_the_bar_goes_to_standard_error(tmp_path, capsys):
    with ProgressBar(str(tmp_path), pictures=20, done=0):
        pass
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "20/20" in shown.err
