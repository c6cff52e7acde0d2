import numpy as np
from PIL import Image

from ssd300.training.evaluation.average_precision import ClassResult
from ssd300.training.evaluation.plots import plot_history, plot_precision_recall


def result(positives, count):
    ones = np.linspace(1, 0.5, count)
    return ClassResult(positives, count, np.linspace(0, 1, count), ones, ones, 0.7, 0.8)


def test_precision_recall_of_classes_with_and_without_objects(tmp_path):
    curves = {"cat": result(3, 5), "dog": result(2, 0), "none": result(0, 2)}
    plot_precision_recall(curves, {"voc2007": 0.7, "voc2010": 0.8}, tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert np.ptp(pixels, axis=-1).max() > 60  # a colored curve is there


def test_history_with_validation_rows(tmp_path):
    fields = "step,epoch,loss,confidence,localization,l2,matches,learning_rate,images_per_second,val_loss"
    rows = ["10,1,5,3,2,.1,9,.001,20,", "20,2,4,2,2,.1,9,.001,21,", "20,2,,,,,,,,4.5"]
    (tmp_path / "history.csv").write_text("\n".join([fields, *rows]))
    plot_history(tmp_path / "history.csv", tmp_path / "h.png")
    with Image.open(tmp_path / "h.png") as image:
        assert image.width > 2 * image.height
