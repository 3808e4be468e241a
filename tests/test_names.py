"""Every `stillhouse.module.name` that the package writes down is there: in docstrings, in messages, in help."""

import importlib
import re
import tokenize
from pathlib import Path

import stillhouse

PACKAGE = Path(stillhouse.__file__).parent


def resolves(name):
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_modules_that_are_named_exist():
    """Two messages sent their readers to modules of an earlier layout."""
    lost = []
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.txt")]):
        for name in sorted(set(re.findall(r"\bstillhouse(?:\.[A-Za-z_]\w*)+", path.read_text()))):
            if not resolves(name):
                lost.append(f"{path.relative_to(PACKAGE)}: {name}")
    assert not lost
    assert not resolves("stillhouse.tasks.classification.data.open_vectors")
    assert not resolves("stillhouse.students.state_space.streaming")


# words of our own that the field has a name for: gone, and its name
WORDS = """
Family:Task family:task families:tasks Lab:RunContext Lesson:StageContext lesson:loss Tutor:StageTeacher tutor:teacher
Staff:TeacherSpec Grade:TeacherCheck plain_score:baseline_score Watch:Callback SILENT:NULL_CALLBACK Tapped:FeatureExtractor
Listening:SignalSet listen:signal_set_of made_of:cache_key Course:TrainSchedule Examination:TestWindows Material:EmbeddingData
Kept:TopKLogProbs Later:TopKLogits Sizes:SortedProbs Questions:TeacherQueries Doctor:GradientMonitor Look:ImageHeader
Gain:LayerScale waves:sincos_position_embedding Voted:ClauseOutput Site:ClauseModule Join:IntegerLayerNorm
share_out:allocate_clauses cut_by_trials:ddmin without_effect:inert_settings luck:score_stderr settle:round_weights
chain_teachers:assistant_teachers own_decay:auxiliary_decay
"""
GONE = dict(pair.split(":") for pair in WORDS.split())


def test_words_that_are_gone_stay_gone():
    """A word of our own must be learned before the code can be read."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        with tokenize.open(path) as file:
            names = [token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.NAME]
        where = path.relative_to(PACKAGE)
        found += [f"{where}:{one.start[0]}: {one.string} is {GONE[one.string]}" for one in names if one.string in GONE]
    assert not found
