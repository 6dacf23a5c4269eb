"""Adaptation curves of any policy in any family: one evaluator, its results and their statistics."""

from typing import TYPE_CHECKING

from metarl.imports import hand_on

if TYPE_CHECKING:
    from metarl.evaluation.changes import Change, measure_changes
    from metarl.evaluation.evaluator import evaluate
    from metarl.evaluation.results import Evaluation, adaptation_table

__all__ = [
    "Change",
    "Evaluation",
    "adaptation_table",
    "evaluate",
    "measure_changes",
]

__getattr__, __dir__ = hand_on(
    __name__,
    {
        "Change": "metarl.evaluation.changes",
        "Evaluation": "metarl.evaluation.results",
        "adaptation_table": "metarl.evaluation.results",
        "evaluate": "metarl.evaluation.evaluator",
        "measure_changes": "metarl.evaluation.changes",
    },
)
