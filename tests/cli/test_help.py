"""Help teaches a verb in a page, at once and without torch; its examples are lines that the verb takes."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml

from stillhouse.cli import main as cli
from stillhouse.cli.list import describe_configs, recipes
from stillhouse.cli.main import main
from stillhouse.cli.options import Parser, help_texts
from stillhouse.core.config import kinds
from stillhouse.recipes import known, known_teachers

VERBS = [verb.split() for verb in help_texts()["verbs"]]
LIGHT = [["list"], ["--help"], *([*words, "--help"] for words in VERBS)]


def page(words, capsys):
    with pytest.raises(SystemExit) as left:
        main([*words, "--help"])
    assert left.value.code == 0
    return capsys.readouterr().out


def examples_of(text):
    """The command lines of a page, without the remarks beside them."""
    found = re.findall(
        r"^  (stillhouse .*)$", text.partition("\nexamples:\n")[2].replace("\\\n     ", ""), re.MULTILINE
    )
    return [re.split(r"\s{3,}", line)[0] for line in found]


def test_what_only_explains_needs_no_torch():
    """Torch takes seconds; all of it in one process, so that one import would be seen."""
    code = (
        "import sys, io, contextlib\nfrom stillhouse.cli.main import main\n"
        f"for words in {LIGHT!r}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n        main(words)\n"
        "    print(len(out.getvalue().splitlines()), 'torch' in sys.modules, *words)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        assert re.match(r"\d+ False", line), line
        assert int(line.split()[0]) > 2, line


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_page_names_its_verb_and_has_examples(words, capsys):
    """A line that is copied can be found again."""
    text = page(words, capsys)
    assert text.startswith(f"usage: stillhouse {' '.join(words)}")
    assert examples_of(text)


class Parsed(Exception):
    """The command line was taken; nothing was run."""


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_example_is_a_line_that_the_verb_takes(words, tmp_path, monkeypatch, capsys):
    """A page whose example ends in `unknown flag`, or names a setting that there is not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("recipe: digits\n")
    for name in ("ada.parquet", "runs"):
        (tmp_path / name).touch()
    real = Parser.parse

    def parse(parser, arguments):
        options = real(parser, arguments)
        if not hasattr(options, "print_config"):
            raise Parsed
        options.print_config = True
        return options

    text = page(words, capsys)
    monkeypatch.setattr(Parser, "parse", parse)
    for example in examples_of(text):
        try:
            assert cli.run_command(shlex.split(example)[1:]) == 0, example
        except Parsed:
            continue


def test_what_is_listed_is_what_there_is():
    """Read from the sources, so that `list` needs no torch: a name that the reading misses could not be found."""
    from stillhouse.signals import SignalConfig
    from stillhouse.tasks.classification.students import StudentConfig
    from stillhouse.temperature import TemperatureConfig

    students = describe_configs("tasks/classification/students")
    for found, real in (
        (describe_configs("signals"), kinds(SignalConfig)),
        (describe_configs("temperature", ""), kinds(TemperatureConfig)),
        (students, kinds(StudentConfig)),
        (recipes("RECIPES"), known()),
        (recipes("TEACHER_RECIPES"), known_teachers()),
    ):
        assert set(found) == set(real)
        assert all(found.values())


def test_a_verb_of_one_task_is_found_by_two_words(capsys):
    """What is none names the near one, or those of the task."""
    assert main(["sar", "strem"]) == 2
    assert "did you mean 'stream'" in capsys.readouterr().err
    assert main(["embed", "predict", "x"]) == 2
    assert "unknown command 'embed predict'; known: capture, distill, explore" in capsys.readouterr().err
    assert (main(["embed", "--help"]), main(["embed"])) == (0, 2)
    asked, bare = capsys.readouterr().out.split("usage: ")[1:]
    assert asked.strip() == bare.strip()
    assert "embed explore  the page" in asked
    assert "sar" not in asked


def test_help_into_a_closed_pipe_is_no_traceback(monkeypatch):
    """As into `head`: the status that a shell knows."""

    def closed(text):
        raise BrokenPipeError

    monkeypatch.setattr("sys.stdout.write", closed)
    assert main(["--help"]) == 141


@pytest.mark.parametrize(
    ("now", "before"),
    [
        ("vision --learning-rate 0.5", "vision --lr 0.5"),
        (
            "sar train --config s4_ssm_complex_toy --epochs 7 --out a",
            "sar train --config s4_ssm_complex_toy --num_epochs 7 --save_dir a",
        ),
        ("embed distill x.npy student.levels=[4]", "embed distill --teacher_checkpoint x.npy --student_dim 4"),
    ],
)
def test_documented_names_of_flags_are_taken(now, before, capsys):
    """The documents' own lines."""
    shown = []
    for line in (now, before):
        assert main([*line.split(), "--print-config"]) == 0
        shown.append(yaml.safe_load(capsys.readouterr().out))
    assert shown[0] == shown[1]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a YAML file whose data are missing, and a run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("data: {name: folder, root: photos}\nteacher: {source: 'timm:resnet18'}\n")
    (tmp_path / "mine.csv").touch()
    (tmp_path / "other.yaml").write_text("recipe: digts\n")
    (tmp_path / "wrong.yaml").write_text("recipe: digits\ntraining: {epoch: 3}\n")
    (tmp_path / "taken" / "arms" / "kd" / "seed-0").mkdir(parents=True)
    (tmp_path / "taken" / "arms" / "kd" / "seed-0" / "result.json").write_text("{}")
    (tmp_path / "taken" / "run.json").write_text("{}")
    return tmp_path


FAULTS = {
    "distill digts": "did you mean 'digits'",
    "distill nothing.yaml": "cannot read the recipe file",
    "distill other.yaml": "did you mean 'digits'",
    "distill mine.yaml": "expected a folder of images",
    "distill digits data.name=folder data.root=photos": "expected a folder of images",
    "distill digits --out taken": "holds a run already",
    "distill digits teacher.source=ckpt:mine.pth": "mine.pth",
    "check mine.yaml": "expected a folder of images",
    "cache digts": "did you mean 'digits'",
    "train-teacher mnist-teachr": "did you mean 'mnist-teacher'",
    "sweep digts seeds=1,2": "did you mean 'digits'",
    "distill digits --epoch 3": "unknown flag --epoch; did you mean '--epochs'",
    "distill digits --student-clauses 3": "unknown flag --student-clauses; known:",
    "distill digits --seeds": "expected one argument",
    "distill digits more": "unexpected argument 'more'",
    "distill digits data.name=flder": "did you mean 'folder'",
    "distill digits training.epoch=3": "training.epoch: unknown key; did you mean 'epochs'",
    "distill wrong.yaml": "training.epoch: unknown key; did you mean 'epochs'",
    "distill digits teacher.source=timm:resnt18": "resnt18",
    "distill digits student.kind=flat-tmm": "did you mean 'flat-tm'",
    "distill banking student.knid=rules": "unknown key; did you mean 'kind'",
    "predict taken other.yaml --out mine.csv": "mine.csv: is there already; --overwrite replaces it",
    "sweep digits training.learning_rat=1e-3,1e-2": "did you mean 'learning_rate'",
    "sweep digits --trails 3": "did you mean '--trials'",
    "list --all": "unknown flag --all",
    "compare none none2": "none is not a run folder",
    "embed distill nope.npy": "expected a file of vectors or a capture folder, got nothing there",
    "embed distill taken --recipe embeding": "did you mean 'embedding'",
    "embed distill taken loss.perplexit=3": "did you mean 'perplexity'",
    "distill wikitext-2 corpus.source=nope": "cannot read the text nope",
    "train-teacher wikitext-2-teacher windw=3": "did you mean 'window'",
    "sar train --config s4x": "no recipe of that name",
    "sar stream nope": "nope",
    "sar compress taken --to sparse --out x": "--to sparse wants --share",
    "evaluate nothing": "expected the folder of a student",
    "report nothing": "is not a run folder",
    "export nothing --to onnx": "expected the folder of a student",
    "predict nothing digit.png": "there is no such folder",
}


@pytest.mark.parametrize("line", FAULTS)
def test_faults_of_names_and_places_are_one_clear_line(line, place, capsys):
    """And nothing is written; a sweep names the values too."""
    before = sorted(path.name for path in place.rglob("*"))
    assert main(line.split()) == 2
    said = capsys.readouterr().err.strip()
    assert FAULTS[line] in said
    assert len(said.splitlines()) <= 1 + line.startswith("sweep"), said
    assert sorted(path.name for path in place.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "kind", "arms"),
    [
        (["student.kind=flat-tm"], "flat-tm", ["kd", "no-kd", "clauses-off"]),
        (["student.clauses=40", "student.kind=flat-tm"], "flat-tm", ["kd", "no-kd", "clauses-off"]),
        (["student.kind=timm"], "timm", ["kd", "no-kd"]),
        (["student={kind: spiking}"], "spiking", ["kd", "no-kd"]),
    ],
)
def test_a_recipe_takes_another_student_by_one_word(words, kind, arms, capsys):
    """It took three tries: settings of the old kind, then of the old task, then its arms."""
    assert main(["distill", "digits", *words, "--print-config"]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert (found["student"]["kind"], found["arms"]) == (kind, arms)
    if kind == "flat-tm":  # that kind's own, not the recipe's 128 of a transformer
        assert found["student"]["clauses"] == (40 if len(words) > 1 else 512)
