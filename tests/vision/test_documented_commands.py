"""docs/reproduction.md: every documented command is read and fits its data; so is the one of docs/tsetlin.md."""

import re
import shlex
from pathlib import Path

import pytest

from stillhouse.compat.vision import read
from stillhouse.core.types import ImageSpec
from stillhouse.tasks.classification.vision.config import SIDES

PAGE, REPRODUCTION = (
    (Path(__file__).parents[2] / "docs" / f"{name}.md").read_text() for name in ("tsetlin", "reproduction")
)
COMMANDS = [block.strip() for block in re.findall(r"```sh\n(stillhouse vision.*?)```", PAGE + REPRODUCTION, re.DOTALL)]
OF_DOCUMENTS = [command for command in COMMANDS if "--config" not in command]


@pytest.mark.parametrize("command", OF_DOCUMENTS)
def test_the_command_is_read_and_fits_its_data(command):
    """Two documented commands could not run as printed; here a size that does not fit is an error while reading."""
    config = read(shlex.split(command)[2:])[1]
    side = config.data.image_size or SIDES[config.data.name]
    channels = 3 if config.data.name.startswith("cifar") else 1
    input_spec = ImageSpec(tuple("0123456789"), (channels, side, side), (0.5,) * channels, (0.5,) * channels)
    for model in config.models:
        plan = config.run_config(model)
        student = plan.student.for_task(input_spec)
        assert student.image_shape == input_spec.shape
        assert (plan.reference == "kd") == ("--distill-teacher-timm" in command)


def test_there_are_all_of_them():
    """Five of document 000 and 001's section 3 and 7, each with its number in the table."""
    numbered = re.findall(r"^(\d+)\. ", REPRODUCTION, re.MULTILINE)
    assert numbered == [str(number) for number in range(1, 15)]
    assert len(OF_DOCUMENTS) == 15  # and the one at the top
