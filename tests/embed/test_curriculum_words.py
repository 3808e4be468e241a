"""A curriculum that was worth nothing where it was measured says so where it is chosen."""

from embed_tiny import config_of, distill

from stillhouse.core.callback import Callback


class Lines(Callback):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def log(self, line):
        self.lines.append(line)


def test_a_run_of_several_temperatures_says_what_to_expect(vectors, tmp_path):
    """0.359, 0.357, 0.359: three schedules cost three runs before their user knew."""
    said = {}
    for name, tau in (("one", [0.5]), ("several", [4.0, 2.0, 0.5])):
        loss = {"tau": tau, "perplexity": None}
        config = config_of(vectors, loss=loss, student={"output": "sphere", "levels": [3]}, seeds=1, anchors=["pca"])
        callback = Lines()
        distill(config, tmp_path / name, callback=callback)
        said[name] = [line for line in callback.lines if "no falling schedule was better" in line]
    assert said["one"] == []
    assert said["several"][0].startswith("loss.tau: 3 stages from 4 to 0.5;")
