"""What a method that heeds curvature is given of one tensor of one model."""

from dataclasses import dataclass

from ..ops.arrays import Array
from ..ops.metric import Metric


@dataclass(frozen=True)
class Measured:
    """The curvature of one tensor of one fine-tuned model, measured on its own task.

    metric: how much the task's loss bends, on the tensor as it is stored.
    total: the trace of the metric of the whole model, by which tasks can be made comparable.
    gradient: the mean gradient of the task's loss at the fine-tuned model, in the tensor's shape; None: not measured.
    """

    metric: Metric
    total: float
    gradient: Array | None = None
