"""The MultiBox loss: cases worked by hand, a slow loop, mining, and what must not reach the gradient."""

from math import atan, exp, log, pi

import numpy as np
import pytest
import tensorflow as tf

from ssd300.model.box_coder import decode
from ssd300.model.default_boxes import default_boxes
from ssd300.model.losses import MultiBoxLoss, ciou_loss, giou_loss, smooth_l1
from ssd300.model.spec import PAPER


def compute(labels, offsets, logits, predicted, loss=None):
    """Loss terms as floats, and the gradients of the loss for the logits and the predicted offsets."""
    logits, predicted = tf.constant(logits, tf.float32), tf.constant(predicted, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([logits, predicted])
        terms = (loss or MultiBoxLoss())(
            tf.constant(labels, tf.int32), tf.constant(offsets, tf.float32), logits=logits, predicted_offsets=predicted
        )
    gradients = tape.gradient(terms.loss, [logits, predicted])
    return [float(term) for term in terms], [gradient.numpy() for gradient in gradients]


def certainties(probabilities):
    """Logits of two classes whose softmax gives the background these probabilities: [..., 2]."""
    background = np.asarray(probabilities, np.float64)
    return np.log(np.stack([background, 1 - background], axis=-1)).astype(np.float32)


def slow_loss(labels, offsets, logits, predicted, ratio=3.0, weight=1.0, empty=0):
    """The definition, box by box in float64."""
    confidence = localization = matches = counted = 0.0
    for b in range(len(labels)):
        negatives, found = [], 0
        for a, label in enumerate(labels[b]):
            scores = [float(v) for v in logits[b][a]]
            top = max(scores)
            entropy = top + log(sum(exp(s - top) for s in scores)) - scores[label]
            if label == 0:
                negatives.append(entropy)
                continue
            found += 1
            confidence += entropy
            for i in range(4):
                error = abs(float(predicted[b][a][i]) - float(offsets[b][a][i]))
                localization += 0.5 * error**2 if error < 1 else error - 0.5
        wanted = int(ratio * found) if found else empty
        confidence += sum(sorted(negatives, reverse=True)[:wanted])
        matches += found
        counted += found or empty / max(ratio, 1.0)
    if counted == 0:
        return [0.0, 0.0, 0.0, 0.0]
    counted = max(counted, 1.0)
    confidence, localization = confidence / counted, weight * localization / counted
    return [confidence + localization, confidence, localization, matches]


def random_batch(seed, pictures=5, boxes=40, classes=4, match_share=0.1):
    random = np.random.default_rng(seed)
    labels = random.integers(1, classes, (pictures, boxes)) * (random.uniform(size=(pictures, boxes)) < match_share)
    labels[0] = 0  # an image without a match
    offsets, predicted = random.normal(0, 2, (2, pictures, boxes, 4)).astype(np.float32)
    return labels, offsets, random.normal(0, 3, (pictures, boxes, classes)).astype(np.float32), predicted


def test_smooth_l1_sums_the_four_coordinates():
    errors = tf.constant([[0.5, -2.0, 0.0, 1.0], [-0.1, 0.2, -3.0, -1.0]])
    # .5·.25 + 1.5 + 0 + .5 (at 1 both branches agree); .5·.01 + .5·.04 + 2.5 + .5
    np.testing.assert_allclose(smooth_l1(errors), [2.125, 3.025], rtol=1e-6)


def test_one_picture_by_hand():
    logits = np.log([[[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.8, 0.1, 0.1]]])
    predicted = [[[0.5, -1.0, 0.0, 3.0], [9.0] * 4, [9.0] * 4]]
    offsets = [[[0.0, 1.0, 0.0, 2.0], [0.0] * 4, [0.0] * 4]]
    terms, (logit_gradient, _) = compute([[2, 0, 0]], offsets, logits, predicted)
    # One match of class 2; three negatives are wanted, two there are.
    confidence = -log(0.7) - log(0.5) - log(0.8)
    localization = 0.125 + 1.5 + 0 + 0.5
    np.testing.assert_allclose(terms, [confidence + localization, confidence, localization, 1], rtol=1e-6)
    # The gradient of cross entropy is the probabilities minus the label.
    expected = [[[0.1, 0.2, -0.3], [-0.5, 0.3, 0.2], [-0.2, 0.1, 0.1]]]
    np.testing.assert_allclose(logit_gradient, expected, atol=1e-6)


def test_the_batch_is_divided_by_all_its_matches_not_by_its_pictures():
    # Image 0 has one match, image 1 two; every negative is mined. Background probabilities by box:
    logits = certainties([[0.4, 0.9], [0.2, 0.3]])
    predicted, offsets = np.zeros((2, 2, 4)), np.full((2, 2, 4), 2.0)
    terms, _ = compute([[1, 0], [1, 1]], offsets, logits, predicted)
    confidence = (-log(0.6) - log(0.9) - log(0.8) - log(0.7)) / 3
    # Four coordinates with an error of 2 are 4 · 1.5 a match.
    np.testing.assert_allclose(terms, [confidence + 6, confidence, 6.0, 3], rtol=1e-6)


def test_the_three_hardest_negatives_of_each_picture_are_mined():
    # A matched box with the highest loss of all comes first: it must not use up a place among the negatives.
    background = [[0.999, 0.9, 0.2, 0.5, 0.1, 0.8, 0.3, 0.7], [0.6, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07]]
    labels = [[1, 0, 0, 0, 0, 0, 0, 0], [0] * 8]
    terms, (gradient, _) = compute(labels, np.zeros((2, 8, 4)), certainties(background), np.zeros((2, 8, 4)))
    # The second image's harder boxes do not count: it has no match.
    np.testing.assert_allclose(terms[1], -log(0.001) - log(0.1) - log(0.2) - log(0.3), rtol=1e-5)
    used = np.abs(gradient).sum(axis=-1) > 0
    assert np.argwhere(used).tolist() == [[0, 0], [0, 2], [0, 4], [0, 6]]


def test_each_picture_mines_for_its_own_matches():
    background = np.full((2, 9), 0.9)
    background[1, 2:] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    labels = [[1, 0, 0, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0, 0]]
    terms, _ = compute(labels, np.zeros((2, 9, 4)), certainties(background), np.zeros((2, 9, 4)))
    # 3 easy ones of image 0 and the 6 hardest of image 1, not the 9 hardest of the batch.
    negatives = -3 * log(0.9) - sum(log(p) for p in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    np.testing.assert_allclose(terms[1], (-3 * log(0.1) + negatives) / 3, rtol=1e-5)


def test_more_negatives_wanted_than_there_are():
    labels = [[1, 1, 0, 1]]  # 9 wanted, one there
    terms, _ = compute(labels, np.zeros((1, 4, 4)), certainties([[0.5, 0.5, 0.25, 0.5]]), np.zeros((1, 4, 4)))
    np.testing.assert_allclose(terms[0], (-3 * log(0.5) - log(0.25)) / 3, rtol=1e-6)


def test_every_box_matched():
    terms, _ = compute([[1, 1]], np.zeros((1, 2, 4)), certainties([[0.5, 0.75]]), np.zeros((1, 2, 4)))
    np.testing.assert_allclose(terms, [(-log(0.5) - log(0.25)) / 2] * 2 + [0, 2], rtol=1e-6)


def test_a_batch_without_a_match_has_loss_zero_and_gradients_zero():
    _, offsets, logits, predicted = random_batch(3)
    terms, gradients = compute(np.zeros((5, 40)), offsets, logits, predicted)
    assert terms == [0, 0, 0, 0]
    for gradient in gradients:
        assert (gradient == 0).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("ratio", "weight", "match_share"), [(3.0, 1.0, 0.1), (1.5, 0.25, 0.1), (3.0, 1.0, 0.6)])
def test_random_batches_equal_a_slow_loop(seed, ratio, weight, match_share):
    batch = random_batch(seed, match_share=match_share)
    terms, _ = compute(*batch, MultiBoxLoss(negatives_per_match=ratio, localization_weight=weight))
    assert terms[3] > 0
    np.testing.assert_allclose(terms, slow_loss(*batch, ratio=ratio, weight=weight), rtol=1e-5)


def test_gradients_equal_finite_differences_of_the_slow_loop():
    labels, offsets, logits, predicted = (v[:2] for v in random_batch(5, boxes=8, match_share=0.3))
    assert (labels[1] > 0).any()
    _, gradients = compute(labels, offsets, logits, predicted)
    for which, gradient in ((2, gradients[0]), (3, gradients[1])):
        for index in np.ndindex(gradient.shape):
            values = []
            for step in (1e-4, -1e-4):
                batch = [
                    v.astype(np.float64) if v.dtype == np.float32 else v for v in (labels, offsets, logits, predicted)
                ]
                batch[which] = batch[which].copy()
                batch[which][index] += step
                values.append(slow_loss(*batch)[0])
            np.testing.assert_allclose(gradient[index], (values[0] - values[1]) / 2e-4, atol=1e-4)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e38])
def test_offsets_where_nothing_matches_are_ignored(garbage):
    labels, offsets, logits, predicted = random_batch(6)
    unmatched = labels == 0
    clean, clean_gradients = compute(labels, offsets, logits, predicted)
    dirty_offsets, dirty_predicted = offsets.copy(), predicted.copy()
    dirty_offsets[unmatched] = garbage
    dirty_predicted[unmatched] = -garbage
    dirty, gradients = compute(labels, dirty_offsets, logits, dirty_predicted)
    assert dirty == clean
    for gradient, expected in zip(gradients, clean_gradients, strict=True):
        np.testing.assert_array_equal(gradient, expected)
    assert (gradients[1][unmatched] == 0).all()


def test_float16_predictions_are_computed_in_float32():
    labels, offsets, logits, predicted = random_batch(7)
    # exp(300) and the sum of squares of 300 leave float16.
    half_logits, half_predicted = (logits * 100).astype(np.float16), (predicted * 100).astype(np.float16)
    terms = MultiBoxLoss()(
        tf.constant(labels, tf.int64),
        tf.constant(offsets),
        logits=tf.constant(half_logits),
        predicted_offsets=tf.constant(half_predicted),
    )
    assert {term.dtype for term in terms} == {tf.float32}
    np.testing.assert_allclose(
        [float(t) for t in terms], slow_loss(labels, offsets, half_logits, half_predicted), rtol=1e-5
    )


def test_a_compiled_loss_is_the_eager_one():
    try:
        tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(1.0))
    except (tf.errors.OpError, ValueError) as error:
        pytest.skip(f"this TensorFlow cannot compile with XLA: {error}")

    @tf.function(jit_compile=True)
    def compiled(labels, offsets, logits, predicted):
        with tf.GradientTape() as tape:
            tape.watch([logits, predicted])
            terms = MultiBoxLoss()(labels, offsets, logits=logits, predicted_offsets=predicted)
        return terms, tape.gradient(terms.loss, [logits, predicted])

    for labels, offsets, logits, predicted in (random_batch(8), random_batch(9, match_share=0.0)):
        terms, gradients = compiled(tf.constant(labels, tf.int32), *map(tf.constant, (offsets, logits, predicted)))
        eager_terms, eager_gradients = compute(labels, offsets, logits, predicted)
        np.testing.assert_allclose([float(t) for t in terms], eager_terms, rtol=1e-5)
        for gradient, expected in zip(gradients, eager_gradients, strict=True):
            np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"negatives_per_match": -1.0}, {"localization_weight": -0.5}])
def test_negative_factors_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must not be negative, got .*-"):
        MultiBoxLoss(**wrong)


@pytest.mark.parametrize("empty", [0, 1, 6, 100])
@pytest.mark.parametrize("match_share", [0.0, 0.1])
def test_images_without_a_match_add_as_many_negatives_as_are_wanted(empty, match_share):
    batch = random_batch(3, match_share=match_share)
    got, _ = compute(*batch, MultiBoxLoss(negatives_per_empty_image=empty))
    np.testing.assert_allclose(got, slow_loss(*batch, empty=empty), rtol=1e-5)


def test_the_negatives_of_an_image_without_a_match_by_hand():
    # Background of 1/2, 1/4 and 1/8: losses of 1, 2 and 3 times ln 2. The two hardest count, as two thirds of a match.
    logits = certainties([[0.5, 0.25, 0.125]])
    zeros = np.zeros((1, 3, 4))
    got, _ = compute(np.zeros((1, 3)), zeros, logits, zeros, MultiBoxLoss(negatives_per_empty_image=2))
    assert got == pytest.approx([5 * log(2), 5 * log(2), 0, 0], rel=1e-5)  # divided by no less than one match
    got, _ = compute(np.zeros((1, 3)), zeros, logits, zeros, MultiBoxLoss(negatives_per_empty_image=6))
    assert got == pytest.approx([3 * log(2), 3 * log(2), 0, 0], rel=1e-5)


# Corner boxes and what becomes of them by hand: IoU 1/7, hull 3x3 with 2 of 9 outside the union of 7.
ASPECT = 4 / pi**2 * (atan(4) - atan(1 / 4)) ** 2
FIRST, SECOND = [0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("loss", "first", "second", "expected"),
    [
        (giou_loss, FIRST, FIRST, 0.0),
        (giou_loss, FIRST, SECOND, 1 - 1 / 7 + 2 / 9),
        (giou_loss, [0, 0, 1, 1], [0, 3, 1, 4], 1 + 2 / 4),  # apart: a hull of 4, of which 2 are between them
        (ciou_loss, FIRST, FIRST, 0.0),
        (ciou_loss, FIRST, SECOND, 1 - 1 / 7 + 2 / 18),  # centers (1, 1) apart, a diagonal of 3 * sqrt(2)
        # The same center and 4x1 in 1x4: IoU 1/7, v = 4 / pi^2 * (atan(4) - atan(1/4))^2, alpha = v / (1 - 1/7 + v).
        (ciou_loss, [0, 0, 1, 4], [-1.5, 1.5, 2.5, 2.5], 1 - 1 / 7 + ASPECT**2 / (6 / 7 + ASPECT)),
    ],
)
def test_losses_of_boxes_by_hand(loss, first, second, expected):
    found = loss(tf.constant([first], tf.float32), tf.constant([second], tf.float32))
    np.testing.assert_allclose(found, [expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("localization", ["giou", "ciou"])
def test_a_loss_of_boxes_decodes_both_sides_and_counts_matches_only(localization):
    labels = np.zeros((1, 8732), np.int32)
    labels[0, [100, 8000]] = 1
    offsets = np.full((1, 8732, 4), np.nan, np.float32)  # what is stored where nothing matches must not matter
    offsets[0, [100, 8000]] = [[0.5, -1.0, 0.3, 0.2], [0.0, 0.0, 0.0, 0.0]]
    predicted = np.zeros((1, 8732, 4), np.float32)
    terms, (_, gradient) = compute(
        labels, offsets, np.zeros((1, 8732, 3)), predicted, MultiBoxLoss(localization=localization)
    )
    boxes = default_boxes(PAPER)[[100, 8000]]
    true, found = decode(offsets[0, [100, 8000]], boxes), decode(predicted[0, [100, 8000]], boxes)
    by_box = {"giou": giou_loss, "ciou": ciou_loss}[localization](tf.constant(found), tf.constant(true)).numpy()
    assert by_box[1] == pytest.approx(0, abs=1e-5)
    assert terms[2] == pytest.approx(by_box.sum() / 2, rel=1e-5)
    assert np.isfinite(gradient).all()
    assert set(np.nonzero(np.abs(gradient[0]).sum(axis=-1))[0]) <= {100, 8000}
    assert np.abs(gradient[0, 100]).sum() > 0


def test_a_wild_offset_keeps_the_loss_of_boxes_finite():
    labels, offsets = np.zeros((1, 8732), np.int32), np.zeros((1, 8732, 4), np.float32)
    labels[0, 5] = 1
    terms, gradients = compute(
        labels, offsets, np.zeros((1, 8732, 3)), np.full((1, 8732, 4), 1e4), MultiBoxLoss(localization="ciou")
    )
    assert np.isfinite(terms).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_label_smoothing_by_hand():
    # One match of class 1 with probabilities (.2, .8), three negatives; smoothing .1 of two classes.
    logits = certainties([[0.2, 0.9, 0.6, 0.7, 0.99]])
    labels, zeros = [[1, 0, 0, 0, 0]], np.zeros((1, 5, 4))
    terms, _ = compute(labels, zeros, logits, zeros, MultiBoxLoss(label_smoothing=0.1))

    def smoothed(right):
        return -0.95 * log(right) - 0.05 * log(1 - right)

    # Mined by the plain loss: .6, .7 and .9 are harder than .99, whose smoothed loss is larger than that of .9.
    assert smoothed(0.99) > smoothed(0.9)
    assert terms[1] == pytest.approx(sum(map(smoothed, (0.8, 0.9, 0.6, 0.7))), rel=1e-5)


@pytest.mark.parametrize("options", [{"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"localization": "l2"}])
def test_what_the_loss_cannot_use_is_refused(options):
    with pytest.raises(ValueError, match="label_smoothing must be in"):
        MultiBoxLoss(**options)
