"""What each distillation technique is worth: one harness, two tasks, one table. See run.py."""
