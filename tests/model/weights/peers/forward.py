"""The peers' network in plain TensorFlow operations, from the tensors of their files."""

import numpy as np
import tensorflow as tf
from layouts import Peer


def forward(peer: Peer, tensors: dict[str, np.ndarray], pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The raw output of a peer's network.

    Args:
        peer: the file's layout and settings.
        tensors: what `Peer.random_tensors` gives.
        pixels: RGB images, uint8 ``[B, 300, 300, 3]``.

    Returns:
        Logits ``[B, 8732, C]`` in the peer's order of classes, and offsets ``[B, 8732, 4]`` in its order of
        coordinates: ``(dx, dy, dw, dh)``, ChainerCV's ``(dy, dx, dh, dw)``.
    """

    def conv(x: tf.Tensor, role: str, *, stride: int = 1, pad: int = 0, dilation: int = 1) -> tf.Tensor:
        kernel, bias = tensors[peer.kernel(role)], tensors[peer.bias(role)]
        if peer.axes == "OIHW":
            kernel = np.transpose(kernel, (2, 3, 1, 0))
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return tf.nn.conv2d(x, kernel, stride, "VALID", dilations=dilation) + bias

    def relu(x: tf.Tensor, role: str, **options: int) -> tf.Tensor:
        return tf.nn.relu(conv(x, role, **options))

    def block(x: tf.Tensor, number: int, count: int) -> tf.Tensor:
        for index in range(1, count + 1):
            x = relu(x, f"conv{number}_{index}", pad=1)
        return x

    x = block(normalized(peer, pixels), 1, 2)
    x = block(pool(x, 2, 2), 2, 2)
    x = block(pool(x, 2, 2), 3, 3)
    # 75 rows: the last one is pooled alone. What follows a ReLU is not negative, so a border of zeros never wins.
    x = block(pool(tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]]), 2, 2), 4, 3)
    sources = [l2_normalized(peer, x) * tensors[peer.kernel("norm")]]
    x = block(pool(x, 2, 2), 5, 3)
    x = pool(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 1)
    x = relu(x, "fc6", pad=6, dilation=6)
    x = relu(x, "fc7")
    sources.append(x)
    for number, options in ((8, {"stride": 2, "pad": 1}), (9, {"stride": 2, "pad": 1}), (10, {}), (11, {})):
        x = relu(relu(x, f"conv{number}_1"), f"conv{number}_2", **options)
        sources.append(x)

    outputs = []
    for values, count in (("logits", peer.classes), ("offsets", 4)):
        # NHWC: the values of a cell's boxes lie together already, box after box.
        stages = [conv(source, f"{values}_{stage}", pad=1) for stage, source in enumerate(sources)]
        outputs.append(tf.concat([tf.reshape(stage, (len(pixels), -1, count)) for stage in stages], axis=1).numpy())
    return outputs[0], outputs[1]


def normalized(peer: Peer, pixels: np.ndarray) -> tf.Tensor:
    """What the peer's first convolution sees of RGB pixels, float32 ``[B, 300, 300, 3]``."""
    x = tf.cast(pixels, tf.float32)
    if peer.project == "torchvision":
        means = tf.constant([0.48235, 0.45882, 0.40784])
        x = (x / 255 - means) / tf.constant([1 / 255] * 3)
    else:
        x = x - tf.constant(peer.means)
    return x[..., ::-1] if peer.channels == "BGR" else x


def l2_normalized(peer: Peer, x: tf.Tensor) -> tf.Tensor:
    """conv4_3 divided by the norm of its channels, each peer with its own guard against zero."""
    square = tf.reduce_sum(x * x, axis=-1, keepdims=True)
    if peer.project == "caffe":
        return x / tf.sqrt(square + 1e-10)
    if peer.project == "ssd_keras":
        return x * tf.math.rsqrt(tf.maximum(square, 1e-12))
    if peer.project == "torchvision":
        return x / tf.maximum(tf.sqrt(square), 1e-12)
    if peer.project == "chainercv":
        return x / (tf.sqrt(square) + 1e-5)
    return x / (tf.sqrt(square) + 1e-10)


def pool(x: tf.Tensor, size: int, stride: int) -> tf.Tensor:
    """Max pooling without padding."""
    return tf.nn.max_pool2d(x, size, stride, "VALID")
