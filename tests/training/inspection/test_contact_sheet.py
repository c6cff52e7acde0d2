"""``ssd300 inspect``: the contact sheet and the rates of the reader's stages."""

import numpy as np
import pytest
from helpers import exit_code
from PIL import Image

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.preprocessing.augmentation.settings import LIGHT_AUGMENTATION, NO_AUGMENTATION
from ssd300.training.cli.main import main
from ssd300.training.inspection.contact_sheet import write_inspection_sheet
from ssd300.training.inspection.stage_rates import rates_table
from ssd300.training.settings import InspectSettings

STAGES = (
    "records, in their order",
    "objects and targets only",
    "images only, decoded and resized",
    "images only, with colors and mirroring",
    "everything, as in training",
)


@pytest.fixture(scope="module")
def copied(encode_shapes):
    """An encoded dataset of 7 images with two copies each, in files of three."""
    return EncodedDataset.open(encode_shapes({"train": 7}, seed=3, shard_size=3, copies=2))


def sheet_size(rows):
    # Six columns of 240 pixels with gaps of 8 around them, and a line of titles of 26.
    return 6 * 248 + 8, 26 + rows * 248 + 8


def cells(path, row):
    """The six cells of a row, as arrays."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    top = 26 + 8 + row * 248
    return [pixels[top : top + 240, 8 + column * 248 : 248 + column * 248] for column in range(6)]


def test_inspect_draws_a_sheet_and_prints_the_rate_of_every_stage(shapes_dataset, tmp_path, capsys):
    sheet = tmp_path / "sheet.jpg"
    arguments = ["inspect", shapes_dataset, "--output", str(sheet), "--images", "2", "--batch-size", "4"]
    assert main([*arguments, "--seconds", ".1"]) == 0
    with Image.open(sheet) as image:
        assert (image.format, image.size) == ("JPEG", sheet_size(2))
    printed = capsys.readouterr().out
    assert f"wrote {sheet}" in printed
    lines = printed[printed.index("stage") :].splitlines()
    assert lines[0].split() == ["stage", "images/s", "ms", "per", "image"]
    assert [line[:44].strip() for line in lines[1:]] == list(STAGES)
    for line in lines[1:]:
        rate, milliseconds = (float(number.replace(",", "")) for number in line[44:].split())
        assert rate > 0
        assert milliseconds * rate == pytest.approx(1000, rel=0.2) or rate < 5  # both are rounded


def test_no_seconds_no_rates(copied, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    arguments = ["inspect", copied.folder, "--output", str(sheet), "--images", "1", "--augmentation", "light"]
    assert main([*arguments, "--seconds", "0"]) == 0
    printed = capsys.readouterr().out
    assert "images/s" not in printed
    assert printed.count("\n") == 1
    with Image.open(sheet) as image:
        assert (image.format, image.size) == ("PNG", sheet_size(1))


def test_augmented_copies_can_be_inspected_and_measured(copied, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    arguments = ["inspect", copied.folder, "--output", str(sheet), "--augmentation", "copies", "--augment", "hue=18"]
    assert main([*arguments, "--images", "3", "--batch-size", "2", "--seconds", ".05"]) == 0
    with Image.open(sheet) as image:
        assert image.size == sheet_size(3)
    printed = capsys.readouterr().out
    assert all(stage in printed for stage in STAGES)


def test_the_reader_s_columns_of_copies_show_other_variants_and_come_round(copied, tmp_path):
    write_inspection_sheet(
        copied, tmp_path / "s.png", InspectSettings(augmentation=NO_AUGMENTATION, copies=True, images=2)
    )
    for row in range(2):
        epochs = cells(tmp_path / "s.png", row)[2:]
        np.testing.assert_array_equal(epochs[0], epochs[3])  # three variants
        assert (epochs[0] != epochs[1]).any()
        assert (epochs[1] != epochs[2]).any()


def test_without_augmentation_all_of_the_reader_s_columns_are_the_same(copied, tmp_path):
    write_inspection_sheet(copied, tmp_path / "s.png", InspectSettings(augmentation=NO_AUGMENTATION, images=1))
    epochs = cells(tmp_path / "s.png", 0)[2:]
    assert all((epoch == epochs[0]).all() for epoch in epochs[1:])
    assert epochs[0].std() > 5  # and no empty cells


def test_objects_are_green_and_matched_boxes_red_in_every_column(copied, tmp_path):
    write_inspection_sheet(copied, tmp_path / "s.png", InspectSettings(augmentation=NO_AUGMENTATION, images=1))
    for cell in cells(tmp_path / "s.png", 0):
        red, green, blue = (cell[..., channel].astype(int) for channel in range(3))
        assert (green > np.maximum(red, blue) + 60).sum() > 50
        assert (red > np.maximum(green, blue) + 60).sum() > 50


def test_there_are_no_more_rows_than_records(copied, tmp_path):
    write_inspection_sheet(copied, tmp_path / "s.png", InspectSettings(augmentation=LIGHT_AUGMENTATION, images=100))
    with Image.open(tmp_path / "s.png") as image:
        assert image.size == sheet_size(7)


def test_the_seed_chooses_pictures_and_augmentation(copied, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        path = tmp_path / f"{name}.png"
        write_inspection_sheet(copied, path, InspectSettings(augmentation=LIGHT_AUGMENTATION, images=2, seed=seed))
    first, same, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == same
    assert first != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "0"], "images must be at least 1 and at most 100, got 0"),
        (["--batch-size", "0"], "batch_size must be at least 1 and at most 65,536, got 0"),
        (["--seconds", "-1"], "seconds must be at least 0 and at most 3,600, got -1.0"),
        (["--split", "val"], "no split 'val', it has: "),
        (["--augmentation", "copies", "--augment", "expand=2"], "expanded and cropped already"),
        (["--augmentation", "copies"], "no augmented copies of 'train'"),
        (["--augment", "hue=much"], "hue must be a number"),
    ],
)
def test_inspect_refuses_with_2_and_a_message(shapes_dataset, tmp_path, capsys, arguments, message):
    sheet = tmp_path / "sheet.jpg"
    assert exit_code(["inspect", shapes_dataset, "--output", str(sheet), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not sheet.exists()


def inspect_to(output, dataset):
    arguments = ["inspect", dataset, "--images", "1", "--augmentation", "none", "--seconds", "0"]
    return main([*arguments, "--output", str(output)])


def test_a_sheet_of_no_known_format_is_refused(copied, tmp_path, capsys):
    assert inspect_to(tmp_path / "sheet.txt", copied.folder) == 2
    assert ".txt" in capsys.readouterr().err


def test_a_sheet_in_a_missing_folder_is_written_or_refused_with_its_name(copied, tmp_path, capsys):
    sheet = tmp_path / "nowhere" / "sheet.png"
    code = inspect_to(sheet, copied.folder)
    assert (code == 0 and sheet.exists()) or (code == 2 and "nowhere" in capsys.readouterr().err)


def test_inspect_of_what_is_not_a_dataset(tmp_path, capsys):
    assert main(["inspect", str(tmp_path), "--output", str(tmp_path / "sheet.jpg")]) == 2
    assert "COMPLETED" in capsys.readouterr().err


def test_inspect_without_a_dataset(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["inspect"])
    assert stopped.value.code == 2
    assert "dataset" in capsys.readouterr().err


def test_the_table_says_how_long_a_picture_takes():
    lines = rates_table({"slow": 4.0, "fast": 20_000.0}).splitlines()
    assert [line.split() for line in lines[1:]] == [["slow", "4", "250.000"], ["fast", "20,000", "0.050"]]
