"""Evaluation of a model on labelled text (extra `[eval]`): docs/evaluation.md."""

from .figures import BinaryFigures, Estimate, Operation, category_figures
from .report import Report, evaluate_files

__all__ = ["BinaryFigures", "Estimate", "Operation", "Report", "category_figures", "evaluate_files"]
