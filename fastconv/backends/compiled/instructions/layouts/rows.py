"""Layouts of the kernels over elements and rows: activations, losses, statistics, updates."""

from __future__ import annotations

from typing import Any

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import Group
from fastconv.backends.compiled.instructions.layouts.declaration import declare

_KIND = "number of the kind in fastconv.plans.activations.ACTIVATIONS"
_PRELU: dict[str, Any] = {
    "slope": "the slopes below 0",
    "slopes": "1, or as many as there are channels",
}
_TOGETHER = "rows that are done together, so that the number of threads does not matter"
_POWERS = "workspace: e to the power of each element"

ROWS_OF_A_BLOCK = 256
"""Rows that are summed at once for each channel, as in ``kernels/cpu/norm.h``."""

PARAMETER_RANGES = Group("parameter_ranges", ("size", "weights", "decayed"))
PENALTIES = Group("penalties", ("l2", "coupled_decay", "decoupled_decay"))
_UPDATE: dict[str, Any] = {
    "w": "the parameters, which are updated",
    "dw": "their gradient",
    "size": "parameters",
    "weights": "how many of the first ones the L2 penalty is for",
    "decayed": "how many of the first ones decay",
    "l2": "2 * l2 * w is added to the gradient",
    "coupled_decay": "coupled_decay * w is added to the gradient",
    "decoupled_decay": "rate * decoupled_decay * w is subtracted beside",
}
_EPSILON = "is added to a variance"

LAYOUTS = dict(
    (
        declare(
            Kernel.ACTIVATION_FORWARD,
            "y = f(x); y may be x",
            "x y",
            "size kind",
            "alpha scale",
            kind=_KIND,
            alpha="of ELU's part below 0, scale * alpha for SELU; slope of a leaky ReLU",
            scale="of SELU",
        ),
        declare(
            Kernel.ACTIVATION_BACKWARD,
            "dx = dy * f'(x), the derivative from y; dx may be dy",
            "dy y dx",
            "size kind",
            "alpha scale",
            kind=_KIND,
            alpha="as in activation_forward",
            scale="of SELU",
        ),
        declare(
            Kernel.FORMULA_FORWARD,
            "y = f(x) by a formula of the table of activations; y may be x",
            "x y",
            "size kind",
            kind=_KIND,
        ),
        declare(
            Kernel.FORMULA_BACKWARD,
            "dx = dy * f'(x) by a formula; dx may be dy",
            "dy kept dx",
            "size kind",
            kept="x or y, whichever the activation keeps",
            kind=_KIND,
        ),
        declare(
            Kernel.PRELU_FORWARD,
            "y = x where it is positive, else x times a slope; y may be x",
            "x slope y",
            "rows channels slopes",
            rows="rows",
            **_PRELU,
        ),
        declare(
            Kernel.PRELU_BACKWARD,
            "dx = dy, times the slope where x is not positive; dx may be dy; sums = those of dy * "
            "x where x is not positive, of each channel in each block of rows",
            "dy x slope dx sums",
            "rows channels slopes",
            sums="float64: (blocks, channels)",
            rows="rows",
            **_PRELU,
        ),
        declare(
            Kernel.PRELU_SLOPES,
            "the sums of all blocks; with one slope, of all channels too",
            "sums dslope",
            "rows channels slopes",
            sums="float64: (blocks, channels)",
            dslope="gradient of the slopes",
            rows="rows",
            slopes=_PRELU["slopes"],
        ),
        declare(
            Kernel.SOFTMAX_FORWARD,
            "y = e^x / sum(e^x) in each row",
            "x y",
            "rows classes together",
            rows="rows",
            together=_TOGETHER,
        ),
        declare(
            Kernel.SOFTMAX_BACKWARD,
            "dx = y (dy - sum(dy y)) in each row",
            "dy y dx",
            "rows classes together",
            rows="rows",
            together=_TOGETHER,
        ),
        declare(
            Kernel.LOG_SOFTMAX_FORWARD,
            "y = x - log(sum(e^x)) in each row",
            "x y powers",
            "rows classes together",
            powers=_POWERS,
            rows="rows",
            together=_TOGETHER,
        ),
        declare(
            Kernel.LOG_SOFTMAX_BACKWARD,
            "dx = dy - e^y sum(dy) in each row",
            "dy y dx powers",
            "rows classes together",
            powers=_POWERS,
            rows="rows",
            together=_TOGETHER,
        ),
        declare(
            Kernel.SOFTMAX_CROSS_ENTROPY_FORWARD,
            "losses = log(sum(e^scores)) - scores[label], and the softmax",
            "scores labels losses probabilities",
            "batch outputs together",
            scores="of each sample and class",
            probabilities="the softmax",
            outputs="classes",
            together=_TOGETHER,
        ),
        declare(
            Kernel.SOFTMAX_CROSS_ENTROPY_BACKWARD,
            "dscores = (probabilities - (1 at the label)) / batch",
            "probabilities labels dscores",
            "batch outputs together",
            probabilities="of each sample and class",
            dscores="gradient of the scores",
            outputs="classes",
            together=_TOGETHER,
        ),
        declare(
            Kernel.NLL_FORWARD,
            "losses = -scores[label]",
            "scores labels losses",
            "batch outputs together",
            scores="log-probabilities of each sample and class",
            outputs="classes",
            together=_TOGETHER,
        ),
        declare(
            Kernel.NLL_BACKWARD,
            "dscores = -1 / batch at the labels, 0 elsewhere",
            "labels dscores",
            "batch outputs together",
            dscores="gradient of the log-probabilities",
            outputs="classes",
            together=_TOGETHER,
        ),
        declare(
            Kernel.MEAN_SQUARED_ERROR_FORWARD,
            "losses = mean over the outputs of (y - target)^2",
            "y target losses",
            "batch outputs together",
            target="what y should be",
            outputs="elements of a sample",
            together=_TOGETHER,
        ),
        declare(
            Kernel.MEAN_SQUARED_ERROR_BACKWARD,
            "dy = 2 (y - target) / size",
            "y target dy",
            "size",
            target="what y should be",
            dy="gradient of y",
            size="elements of all samples",
        ),
        declare(
            Kernel.SUM_LOSSES,
            "statistics[0] += sum of the losses, statistics[2] += batch",
            "losses statistics",
            "batch",
            statistics="float64: sum of losses, correct samples, samples",
        ),
        declare(
            Kernel.COUNT_CORRECT,
            "statistics[1] += samples whose first largest score is at the label",
            "scores labels statistics",
            "batch outputs",
            scores="of each sample and class",
            statistics="float64: sum of losses, correct samples, samples",
            outputs="classes",
        ),
        declare(
            Kernel.SGD_UPDATE,
            "w -= rate * (dw + 2 l2 w[:weights] + coupled w[:decayed]) + "
            "rate decoupled w[:decayed]",
            "w dw rate",
            "{parameter_ranges}",
            "{penalties}",
            field_groups=(PARAMETER_RANGES, PENALTIES),
            **_UPDATE,
        ),
        declare(
            Kernel.MOMENTUM_UPDATE,
            "m = momentum m + share g, then w -= rate m, or for nesterov of share g + momentum m; "
            "g and the decoupled decay as in sgd_update",
            "w dw m rate",
            "{parameter_ranges} nesterov",
            "{penalties} momentum share",
            field_groups=(PARAMETER_RANGES, PENALTIES),
            **_UPDATE,
            m="the velocity, which is updated",
            nesterov="whether it is Nesterov's",
            momentum="what is kept of the velocity",
            share="of the gradient in the velocity",
        ),
        declare(
            Kernel.ADAM_UPDATE,
            "Adam; g and the decoupled decay as in sgd_update",
            "w dw m v rate step",
            "{parameter_ranges}",
            "{penalties} beta1 beta2 epsilon",
            field_groups=(PARAMETER_RANGES, PENALTIES),
            **_UPDATE,
            m="running mean of the gradient, which is updated",
            v="running mean of its square, which is updated",
            beta1="what is kept of m",
            beta2="what is kept of v",
            epsilon="is added to the root",
        ),
        declare(
            Kernel.NORM_SUMS,
            "of each block of rows, the sum of x and that of the squared distances from its mean",
            "x sums",
            "rows channels",
            rows="rows",
        ),
        declare(
            Kernel.NORM_STATISTICS,
            "mean and inverse standard deviation of all rows, the running statistics, and "
            "gamma / standard deviation",
            "sums gamma running_mean running_variance mean inverse_std factor",
            "rows channels",
            "epsilon momentum",
            running_mean="for each channel, which is updated",
            running_variance="for each channel, which is updated",
            inverse_std="1 / standard deviation for each channel",
            factor="gamma / standard deviation",
            rows="rows",
            epsilon=_EPSILON,
            momentum="share of this batch in the running statistics",
        ),
        declare(
            Kernel.NORM_FACTOR,
            "factor = gamma / sqrt(variance + epsilon)",
            "gamma variance factor",
            "channels",
            "epsilon",
            variance="for each channel",
            factor="for each channel",
            epsilon=_EPSILON,
        ),
        declare(
            Kernel.NORM_APPLY,
            "y = (x - mean) * factor + beta",
            "x mean factor beta y",
            "rows channels",
            factor="for each channel",
            rows="rows",
        ),
        declare(
            Kernel.NORM_GRADIENT_SUMS,
            "of each block of rows, the sum of dy and that of dy * z with "
            "z = (x - mean) * inverse_std",
            "dy x mean inverse_std sums",
            "rows channels",
            inverse_std="1 / standard deviation for each channel",
            rows="rows",
        ),
        declare(
            Kernel.NORM_GRADIENTS,
            "dbeta = sum of dy, dgamma = sum of dy * z, and what dx takes of them",
            "sums gamma inverse_std dgamma dbeta means factor",
            "rows channels",
            inverse_std="1 / standard deviation for each channel",
            dgamma="gradient of gamma",
            dbeta="gradient of beta",
            means="the means of dy, then those of dy * z",
            factor="gamma * inverse_std",
            rows="rows",
        ),
        declare(
            Kernel.NORM_BACKWARD_DATA,
            "dx = factor * (dy - mean of dy - z * mean of dy * z)",
            "dy x mean inverse_std means factor dx",
            "rows channels",
            inverse_std="1 / standard deviation for each channel",
            means="the means of dy, then those of dy * z",
            factor="gamma * inverse_std",
            rows="rows",
        ),
    )
)
