"""The engine: one training loop for students and teachers, its optimizer, checkpoints and progress."""

from stillhouse.training.config import TrainingConfig
