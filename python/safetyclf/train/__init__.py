"""Training of model files (extra `[train]`): docs/training.md."""

from .card import model_card
from .config import DEFAULT_CONFIG, TrainingConfig, load_config
from .pipeline import train_heads

__all__ = ["DEFAULT_CONFIG", "TrainingConfig", "load_config", "model_card", "train_heads"]
