"""Names of any script in charts and on images."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ssd300.preprocessing.report.charts import plot_classes
from ssd300.preprocessing.support import fonts
from ssd300.preprocessing.support.drawing import draw_boxes
from ssd300.preprocessing.support.fonts import caption_font, drawable, plain_text, shortened
from ssd300.training.evaluation.average_precision import ClassResult
from ssd300.training.evaluation.plots import plot_precision_recall


@pytest.fixture
def only_dejavu(monkeypatch):
    """A machine that has no font but matplotlib's own."""
    monkeypatch.setattr(fonts, "_installed", lambda: [(fonts._BASE, fonts._path_of(fonts._BASE))])
    monkeypatch.setattr(fonts, "_said", set())
    fonts._fonts_for.cache_clear()
    yield
    fonts._fonts_for.cache_clear()


NAMES = [
    "$1_$5",
    "_hidden",
    "pedestrian_crossing_warning_sign",
    "a$b$",
    r"\frac{1}",
    "stra\u00dfe",
    "\u0436\u0443\u043a",
]


def test_what_a_font_has_stays_and_the_rest_is_code_points_said_once(only_dejavu, caplog):
    assert [drawable(name) for name in NAMES] == NAMES
    assert not caplog.records
    for _ in range(2):
        assert drawable("\u732b cat \u72d7") == r"\u732b cat \u72d7"
    assert drawable("a\n\x1b") == r"a \x1b"
    (record,) = caplog.records
    assert "no installed font has \u72d7 \u732b" in record.getMessage()


def test_a_font_that_has_a_letter_is_used(monkeypatch, caplog):
    letters = {"dejavu": frozenset("abc"), "large": frozenset("\u732b\u72d7"), "other": frozenset("\u732b")}
    monkeypatch.setattr(fonts, "_installed", lambda: [(fonts._BASE, "dejavu"), ("Large", "large"), ("Other", "other")])
    monkeypatch.setattr(fonts, "_letters_in", letters.__getitem__)
    fonts._fonts_for.cache_clear()
    try:
        assert drawable("a\u732b\u72d7") == "a\u732b\u72d7"
        assert [family for family, _ in fonts._fonts_for(frozenset("a\u732b"))] == [fonts._BASE, "Large"]
    finally:
        fonts._fonts_for.cache_clear()
    assert not caplog.records


@pytest.mark.parametrize(
    ("text", "expected"), [("abcdef", "abcdef"), ("abcdefg", "ab\u2026efg"), ("abcdefgh", "ab\u2026fgh")]
)
def test_long_names_lose_their_middle(text, expected):
    assert shortened(text, 6) == expected


def test_text_in_a_chart_is_no_formula_and_has_every_letter(only_dejavu):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plot_classes(dict.fromkeys([*NAMES, "\u732b"], 3)).startswith(b"\x89PNG")
    with plain_text("$1_$5"):
        figure = Figure()
        assert not figure.text(0, 0, "$1_$5").get_parse_math()


def test_all_classes_are_in_the_legend(only_dejavu, tmp_path, monkeypatch):
    legends = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: legends.append(self.axes[0].get_legend()))
    curve = np.array([0.5, 1.0])
    result = ClassResult(
        positives=2, detections=2, precision=curve, recall=curve, scores=curve, voc2007=0.5, voc2010=0.25
    )
    plot_precision_recall(
        dict.fromkeys([*NAMES, "x" * 90], result), {"voc2007": 0.5, "voc2010": 0.5}, tmp_path / "x.png"
    )
    texts = [text.get_text().split("  ")[0].strip() for text in legends[0].get_texts()]
    assert texts == [*NAMES, f"{'x' * 19}\u2026{'x' * 20}"]


@pytest.mark.parametrize("caption", ["cat 0.90", "\u0436\u0443\u043a", "\u732b", "_x", ""])
def test_captions_are_drawn(only_dejavu, caption):
    image = Image.new("RGB", (300, 200), "white")
    box = np.array([[0.4, 0.2, 0.9, 0.8]])
    drawn = draw_boxes(image, box, captions=[caption], colors=[(200, 0, 0)])
    label = np.asarray(drawn)[50:80, 55:140]
    assert (label != 255).any() == bool(caption)
    if caption:
        assert len({tuple(pixel) for pixel in label.reshape(-1, 3)}) > 3  # letters on the label's color


def test_the_font_of_a_caption_has_its_letters():
    assert caption_font("\u0436", 12).getname()[0] == fonts._BASE
    assert caption_font("cat", 12).getname()[0] != fonts._BASE
