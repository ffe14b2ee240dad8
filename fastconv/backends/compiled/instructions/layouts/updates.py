"""Layouts of the updates, and of what is done with gradients before them."""

from __future__ import annotations

from typing import Any

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import Group
from fastconv.backends.compiled.instructions.layouts.declaration import declare

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
    "rate_factor": "of the learning rate",
}
_MEANS: dict[str, Any] = {
    "m": "running mean of the gradient, which is updated",
    "v": "running mean of its square, which is updated",
    "beta1": "what is kept of m",
    "beta2": "what is kept of v",
    "epsilon": "is added to the root",
}

LAYOUTS = dict(
    (
        declare(
            Kernel.SGD_UPDATE,
            "w -= rate * (dw + 2 l2 w[:weights] + coupled w[:decayed]) + "
            "rate decoupled w[:decayed]",
            "w dw rate",
            "{parameter_ranges}",
            "{penalties} rate_factor",
            field_groups=(PARAMETER_RANGES, PENALTIES),
            **_UPDATE,
        ),
        declare(
            Kernel.MOMENTUM_UPDATE,
            "m = momentum m + share g, then w -= rate m, or for nesterov of share g + momentum m; "
            "g and the decoupled decay as in sgd_update",
            "w dw m rate",
            "{parameter_ranges} nesterov",
            "{penalties} momentum share rate_factor",
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
            "{penalties} beta1 beta2 epsilon rate_factor",
            field_groups=(PARAMETER_RANGES, PENALTIES),
            **_UPDATE,
            **_MEANS,
        ),
        declare(
            Kernel.RMSPROP_UPDATE,
            "RMSprop, centred where there is mean, with momentum where there is m; "
            "g and the decoupled decay as in sgd_update",
            "w dw v mean? m? rate",
            "{parameter_ranges}",
            "{penalties} alpha epsilon momentum rate_factor",
            field_groups=(PARAMETER_RANGES, PENALTIES),
            **_UPDATE,
            m="the velocity, which is updated",
            v="running mean of the gradient's square, which is updated",
            mean="running mean of the gradient, which is updated",
            alpha="what is kept of v and mean",
            epsilon="is added to the root",
            momentum="what is kept of the velocity",
        ),
        declare(
            Kernel.ADAGRAD_UPDATE,
            "Adagrad; g and the decoupled decay as in sgd_update",
            "w dw v rate",
            "{parameter_ranges}",
            "{penalties} epsilon rate_factor",
            field_groups=(PARAMETER_RANGES, PENALTIES),
            **_UPDATE,
            v="sum of the gradient's squares, which is updated",
            epsilon="is added to the root",
        ),
        declare(
            Kernel.NADAM_UPDATE,
            "NAdam; g and the decoupled decay as in sgd_update",
            "w dw m v rate step",
            "{parameter_ranges}",
            "{penalties} beta1 beta2 epsilon momentum_decay rate_factor",
            field_groups=(PARAMETER_RANGES, PENALTIES),
            **_UPDATE,
            **_MEANS,
            momentum_decay="how fast the momentum of a step comes up to beta1",
        ),
        declare(
            Kernel.LAMB_DIRECTION,
            "of LAMB: Adam's running means, and the direction u with its decay; g as in sgd_update",
            "w dw m v step u",
            "{parameter_ranges}",
            "{penalties} beta1 beta2 epsilon",
            field_groups=(PARAMETER_RANGES, PENALTIES),
            **{key: text for key, text in _UPDATE.items() if key != "rate_factor"}
            | {"w": "the parameters", "decoupled_decay": "decoupled_decay * w is added to u"},
            **_MEANS,
            u="workspace: the direction",
        ),
        declare(
            Kernel.LAMB_APPLY,
            "the rest of LAMB: w -= rate ||w|| / ||u|| u",
            "w u w_sums u_sums rate",
            "size",
            "rate_factor",
            w=_UPDATE["w"],
            u="the direction",
            w_sums="float64: the squared_sums of w",
            u_sums="float64: the squared_sums of u",
            size=_UPDATE["size"],
            rate_factor=_UPDATE["rate_factor"],
        ),
        declare(
            Kernel.SQUARED_SUMS,
            "the sum of the squares of each block of 1024 elements",
            "x sums",
            "size",
            x="the elements",
            sums="float64: one for each block",
        ),
        declare(
            Kernel.SCALE_BY_NORM,
            "x *= min(1, limit / (norm + epsilon)), or limit / max(norm, epsilon)",
            "x sums",
            "size normalizes",
            "limit epsilon",
            x="what is scaled",
            sums="float64: the squared_sums of x",
            normalizes="whether a smaller norm becomes the limit too",
            limit="the largest norm",
            epsilon="against a norm of 0",
        ),
        declare(
            Kernel.CLIP_BY_VALUE,
            "each element between -limit and limit; NaN stays",
            "x",
            "size",
            "limit",
            x="what is clipped",
            limit="the largest magnitude",
        ),
        declare(
            Kernel.ACCUMULATE,
            "total = keep total + share dw; without total where keep is 0",
            "dw total",
            "size",
            "share keep",
            dw="the gradient",
            total="what it is added to",
            share="factor of the gradient",
            keep="factor of what is there",
        ),
        declare(
            Kernel.MUON_DIRECTION,
            "m = momentum m + (1 - momentum) dw; direction = m, or for nesterov "
            "(1 - momentum) dw + momentum m",
            "dw m direction",
            "size nesterov",
            "momentum",
            dw="the gradient",
            m="its running mean, which is updated",
            direction="of the step, before it is made orthogonal",
            nesterov="whether it is Nesterov's",
            momentum="what is kept of m",
        ),
        declare(
            Kernel.NEWTON_SCHULZ_POLYNOMIAL,
            "polynomial = b gram + c square, and a more on the diagonal",
            "gram square polynomial",
            "rows",
            "a b c",
            gram="a matrix by its transpose",
            square="gram by gram",
            polynomial="of the Newton-Schulz iteration",
            rows="rows of each matrix, and its columns",
            a="factor of the unit matrix",
            b="factor of gram",
            c="factor of square",
        ),
    )
)
