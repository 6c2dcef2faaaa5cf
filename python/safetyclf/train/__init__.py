"""Training of model files (extra `[train]`): docs/training.md."""

from .card import model_card
from .config import DEFAULT_CONFIG, TrainingConfig
from .config_file import load_config
from .pipeline import evaluate_test_rows, train

__all__ = ["DEFAULT_CONFIG", "TrainingConfig", "evaluate_test_rows", "load_config", "model_card", "train"]
