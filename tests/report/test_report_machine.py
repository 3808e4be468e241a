"""What a report says of the machine."""

import torch

from stillhouse.core.machine import machine


def test_threads_are_told_where_nobody_set_them(monkeypatch):
    """The page said "threads: None" wherever OMP_NUM_THREADS was not set."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert machine()["threads"] == torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine()["threads"] == "3"
