"""Public functions on arrays in NCHW, as their callers have them."""

import numpy as np

import fastconv


class Convolution:
    """``conv2d`` and its gradients, from one that is mostly its call to one that is arithmetic."""

    params = ("1x1x8x8, 4 of 3x3", "32x32x14x14, 64 of 3x3", "8x64x56x56, 64 of 3x3")
    param_names = ("x, w",)

    def setup(self, shapes):
        """Draw images and filters."""
        images, filters = shapes.split(", ")
        shape = tuple(map(int, images.split("x")))
        count, size = filters.split(" of ")
        generator = np.random.default_rng(0)
        self.x = generator.random(shape, np.float32)
        self.w = generator.random((int(count), shape[1], *map(int, size.split("x"))), np.float32)
        self.dy = fastconv.conv2d(self.x, self.w, padding=1)
        fastconv.conv2d_backward(self.dy, self.x, self.w, padding=1)

    def time_conv2d(self, shapes):
        """Forward."""
        fastconv.conv2d(self.x, self.w, padding=1)

    def time_conv2d_backward(self, shapes):
        """Gradients for images, filters and bias."""
        fastconv.conv2d_backward(self.dy, self.x, self.w, padding=1)


class Others:
    """Pooling, a dense layer and the loss, each both ways."""

    def setup(self):
        """Draw arrays, and make each call once."""
        generator = np.random.default_rng(0)
        self.images = generator.random((32, 64, 28, 28), np.float32)
        self.rows = generator.random((128, 512), np.float32)
        self.weights = generator.random((512, 256), np.float32)
        self.scores = generator.random((128, 10), np.float32)
        self.labels = generator.integers(0, 10, 128)
        self.time_max_pool2d()
        self.time_dense()
        self.time_softmax_cross_entropy()

    def time_max_pool2d(self):
        """Windows of 2 x 2."""
        pooled, where = fastconv.max_pool2d(self.images, 2)
        fastconv.max_pool2d_backward(pooled, where, self.images.shape, 2)

    def time_dense(self):
        """512 features to 256, of 128 samples."""
        y = fastconv.dense(self.rows, self.weights)
        fastconv.dense_backward(y, self.rows, self.weights)

    def time_softmax_cross_entropy(self):
        """128 samples of 10 classes."""
        _, probabilities = fastconv.softmax_cross_entropy(self.scores, self.labels)
        fastconv.softmax_cross_entropy_backward(probabilities, self.labels)
