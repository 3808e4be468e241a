"""Stored pages of `--help`: short, at once, without torch, and of the commands as they are."""

import re
import shlex
import subprocess
import sys
import time
from contextlib import nullcontext

import pytest

from stillhouse.cli import main as cli
from stillhouse.cli import stored_settings
from stillhouse.cli.catalog import pages
from stillhouse.cli.list import MEASURED
from stillhouse.cli.main import main
from stillhouse.cli.options import Parser
from stillhouse.cli.stored import COMMANDS, LINES, OF_FAMILIES, PAGES, group_of, groups_of, page, recipes
from stillhouse.cli.stored_settings import check_flags, check_settings
from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.config import ConfigError
from stillhouse.families.lm.recipes import TEACHER_RECIPES
from stillhouse.families.sar.recipes import TRAINED
from stillhouse.recipes import known, known_teachers

FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
NAMES = ["-".join(command) for command in COMMANDS]


@pytest.fixture(scope="module")
def fresh():
    """Every page as the commands write it now."""
    return dict(pages())


def examples_of(text):
    """The command lines of a page, without the remarks beside them."""
    found = re.findall(
        r"^  (stillhouse .*)$", text.partition("\nexamples:\n")[2].replace("\\\n     ", ""), re.MULTILINE
    )
    return [re.split(r"\s{3,}", line)[0] for line in found]


def test_pages_are_those_of_the_commands(fresh):
    """A flag, recipe or signal that was added since; write them with `python -m stillhouse.cli.catalog`."""
    assert {path.stem: path.read_text() for path in PAGES.glob("*.txt")} == fresh


def test_every_recipe_is_listed_with_its_minutes(fresh):
    """A recipe without one was started and left after an hour; a measurement of a recipe that is gone is shown nowhere."""
    names = [*known(), *known_teachers(), *TEACHER_RECIPES, *TRAINED]
    rows = dict(re.findall(r"^  ([\w-]+) +(\d+|hours|-)  \S", fresh["list.all"], re.MULTILINE))
    assert set(names) <= set(rows)
    assert {name: rows[name] for name in MEASURED} == dict(MEASURED)
    assert set(MEASURED) <= set(names)
    assert max(map(len, fresh["list.all"].splitlines())) <= 100


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_a_page_is_short_and_has_examples(command):
    """604 lines for `vision` were once the answer to --help."""
    text = page([*command, "--help"])
    assert len(text.splitlines()) <= LINES
    assert max(map(len, text.splitlines())) <= 132
    if len(command) == 2 or command[0] not in OF_FAMILIES:
        assert len(examples_of(text)) == 3


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_every_flag_of_a_page_is_one_of_the_command(command, fresh):
    """A page that promises a flag under a name that was changed; the short name must be taken, too."""
    name = "-".join(command)
    every = fresh.get(f"{name}.full", fresh[name])
    table = page([*command, "--help"]).partition("\nexamples:\n")[0]
    assert set(re.findall(r"^  (--[\w-]+)", table, re.MULTILINE)) <= set(FLAG.findall(every))


def test_common_flags_are_all_shown(monkeypatch):
    """A flag that people use and that was renamed would vanish from the short page without a word."""
    missing = {}
    shown = Parser.format_help

    def judged(parser):
        offered = {name for action in parser._actions for name in action.option_strings}
        if lost := {parser.known_as.get(name, name) for name in parser.common} - offered:
            missing[parser.prog] = lost
        return shown(parser)

    monkeypatch.setattr(Parser, "format_help", judged)
    for command in COMMANDS:
        with pytest.raises(SystemExit) if command not in {("sar",), ("lm",)} else nullcontext():
            cli.run_command([*command, "--help"])
    assert missing == {}


@pytest.mark.parametrize("command", ["distill", "lm distill", "sar distill", "embed distill", "vision"])
def test_what_every_training_has_is_called_alike(command):
    """`lm distill` had --training-learning-rate, `vision` --lr, `sar` --save-dir and --num-epochs, and no --threads."""
    flags = "--out --epochs --learning-rate --batch-size --seeds --threads --resume --set --device".split()  # noqa: SIM905
    text = page([*command.split(), "--help"])
    assert [flag for flag in flags if not re.search(rf"^  {flag}\b", text, re.MULTILINE)] == []
    assert not re.search(r"--training-learning-rate|--lr\b|--save-dir|--num-epochs", text)


@pytest.mark.parametrize(
    ("command", "now", "before"),
    [
        ("lm distill wikitext-2", "--learning-rate 0.5", "--training-learning-rate 0.5"),
        ("embed distill x.npy", "--learning-rate 0.5 --epochs 7", "--training-learning-rate 0.5 --training-epochs 7"),
        ("vision", "--learning-rate 0.5", "--lr 0.5"),
        ("sar train --config s4_ssm_complex_toy", "--epochs 7 --out a", "--num_epochs 7 --save_dir a"),
    ],
)
def test_earlier_names_of_flags_are_taken(command, now, before, capsys):
    """Scripts, and the documents' own lines."""
    shown = []
    for flags in (now, before):
        assert cli.main([*command.split(), *flags.split(), "--print-config"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "0.5" in shown[0] or "epochs: 7" in shown[0]


class Parsed(Exception):
    """The command line was taken; nothing was run."""


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_every_example_is_a_line_that_the_command_takes(command, tmp_path, monkeypatch):
    """A page whose example ends in `unknown flag`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("recipe: wikitext-2\n" if command[0] == "lm" else "recipe: digits\n")
    (tmp_path / "space.yaml").write_text("training.learning_rate: {low: 1e-4, high: 1e-2, log: true}\n")
    real = Parser.parse

    def parse(parser, words):
        options = real(parser, words)
        if not getattr(options, "print_config", False):
            raise Parsed
        return options

    monkeypatch.setattr(Parser, "parse", parse)
    for example in examples_of(page([*command, "--help"])):
        words = shlex.split(example)[1:]
        if words[0] in {"--help", "list"} or words[-1] == "--help":
            continue
        taken = f"{words[0]}-{words[1]}" if words[0] in OF_FAMILIES else words[0]
        settles = "--print-config" in (page([*taken.split("-", words[0] in OF_FAMILIES), "--help"]) or "")
        plain = words[0] == "cache" and words[1] in {"merge", "show", "estimate"}
        try:
            assert cli.run_command([*words, *(["--print-config"] if settles and not plain else [])]) == 0
        except Parsed:
            assert not settles or plain


@pytest.mark.parametrize(
    "words", [["distill", "--help"], ["vision", "--help-all"], ["lm", "distill", "--help", "corpus"]]
)
def test_a_command_that_explains_itself_does_not_wait_for_torch(words):
    """Torch takes seconds; a page takes none. Half a second on a quiet machine, thrice that here."""
    code = (
        f"from stillhouse.cli.main import main\nmain({words!r})\n"
        "import sys\nsys.exit(bool({'torch', 'pydantic'} & set(sys.modules)))"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 4
    assert time.perf_counter() - started < 1.5


def test_a_recipe_has_a_page_of_its_own(capsys):
    """Its flags follow its configuration, so no stored page can know them."""
    with pytest.raises(SystemExit):
        main(["distill", "mnist", "--help"])
    text = capsys.readouterr().out
    assert "--student-clauses" in text
    assert len(text.splitlines()) <= LINES


def test_a_group_is_a_part_of_the_whole_page(capsys):
    """All of one group and nothing of another; a wrong name is one line with the near one."""
    assert main(["distill", "--help", "teacher"]) == 0
    text = capsys.readouterr().out
    assert set(re.findall(r"^  (--[\w-]+)", text, re.MULTILINE)) == {
        flag for flag in FLAG.findall(page(["distill", "--help-all"])) if re.match(r"--teacher-(?!cache|view)", flag)
    }
    assert main(["distill", "--help", "techer"]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0
    with pytest.raises(InputError, match="did you mean 'teacher'"):
        group_of(page(["distill", "--help-all"]), "techer", "stillhouse distill")
    assert {"training", "data", "teacher", "student", "signals"} <= set(groups_of(page(["distill", "--help-all"])))


@pytest.mark.parametrize(
    "words",
    [
        ["demo", "--seeds", "many"],
        ["evaluate"],
        ["export", "runs/demo", "--to", "paper"],
        ["compare", "a", "--cost", "1"],
        ["verify", "a", "b", "--margin", "wide"],
        ["vision", "--epoch", "3"],
        ["lm", "generate", "x"],
        ["sar", "stream"],
        ["predict", "a", "b", "c"],
    ],
    ids=" ".join,
)
def test_an_argument_error_is_one_line(words, capsys):
    """Usage after an error was as long as the help."""
    assert main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "--help" in lines[0] or "known" in lines[0] or "mean" in lines[0]


def test_top_help_names_commands_that_there_are():
    """`lm train` was named there, and did not exist."""
    for family, commands in OF_FAMILIES.items():
        named = re.findall(r"[a-z-]+", cli.COMMANDS[family].rpartition(":")[2])
        assert named
        assert set(named) <= set(commands)
    assert {command[0] for command in COMMANDS} == set(cli.COMMANDS)


# ------------------------------------------------------------------------------- faults seen before torch is imported


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a YAML file whose data are missing, and a run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("data: {name: folder, root: photos}\nteacher: {source: 'timm:resnet18'}\n")
    (tmp_path / "other.yaml").write_text("recipe: digts\n")
    (tmp_path / "wrong.yaml").write_text("recipe: digits\ntraining: {epoch: 3}\n")
    (tmp_path / "taken" / "arms" / "kd" / "seed-0").mkdir(parents=True)
    (tmp_path / "taken" / "arms" / "kd" / "seed-0" / "result.json").write_text("{}")
    (tmp_path / "taken" / "run.json").write_text("{}")
    return tmp_path


FAULTS = {
    "distill digts": "did you mean 'digits'",
    "distill nothing.yaml": "cannot read the recipe file nothing.yaml",
    "distill other.yaml": "did you mean 'digits'",
    "distill mine.yaml": "expected a folder of images, got nothing there",
    "distill digits --data-name folder --data-root photos": "expected a folder of images, got nothing there",
    "distill digits --out taken": "holds a run already",
    "distill digits --teacher-source ckpt:mine.pth": "no such file",
    "distill digits --set teacher.checkpoint=mine.pth": "no such file",
    "check digts": "did you mean 'digits'",
    "check nothing.yaml": "cannot read the recipe file nothing.yaml",
    "check mine.yaml": "expected a folder of images, got nothing there",
    "cache digts": "did you mean 'digits'",
    "train-teacher mnist-teachr": "did you mean 'mnist-teacher'",
    "sweep digts --set seeds=1,2": "did you mean 'digits'",
    "distill digits --epoch 3": "unknown flag --epoch; did you mean '--epochs'",
    "distill digits --seeds": "expected one argument",
    "distill digits more": "unexpected argument 'more'",
    "distill digits --data-name flder": "data.name: expected 'digits', 'mnist'",
    "distill digits --set data.name=flder": "did you mean 'folder'",
    "distill digits --set training.epoch=3": "training.epoch: unknown key; did you mean 'epochs'",
    "distill wrong.yaml": "training.epoch: unknown key; did you mean 'epochs'",
    "distill digits --teacher-source timm:resnt18": "timm has no model 'resnt18'; did you mean 'resnet18'",
    "distill digits --teacher-source torchvision:resnt18": "torchvision has no classifier 'resnt18'",
    "check digits --dat-name mnist": "did you mean '--data-name'",
    "sweep digits --set training.learning_rat=1e-3": "did you mean 'learning_rate'",
    "sweep digits --trails 3": "did you mean '--trials'",
    "train-teacher wikitext-2-teacher --epoch 3": "did you mean '--epochs'",
    "list --all": "unknown flag --all",
    "compare none none2": "none is not a run folder",
    "vision --epoch 3": "did you mean '--epochs'",
    "embed distill nope.npy": "expected a file of vectors or a capture folder, got nothing there",
    "embed distill taken --recipe embeding": "did you mean 'embedding'",
    "embed distill taken --perplexit 3": "did you mean '--perplexity'",
    "embed encode nope x.npy --out codes.npy": "there is no such file or folder",
    "lm distill wikitext-2 --corpus-source nope": "cannot read the text nope",
    "lm distill wikitxt": "did you mean 'wikitext-2'",
    "lm train-teacher wikitext-2-teacher --windw 3": "did you mean '--window'",
    "lm generate nope --prompt x": "there is no such file or folder",
    "sar train --config s4x": "no recipe of that name",
    "sar stream nope": "there is no such file or folder",
    "evaluate nothing": "expected the folder of a student",
    "evaluate taken --data-root photos": "photos: there is no such",
    "report nothing": "is not a run folder",
    "export nothing --to onnx": "expected the folder of a student",
    "predict nothing digit.png": "there is no such folder",
}


FLAGS = {"--epoch", "--seeds", "more", "--dat-name", "flder"}  # judged where the flags of the command are known


def test_faults_of_names_and_places_are_seen_before_torch_is_imported(place):
    """Seconds of waiting for a misspelt name; all lines in one process, so that one import would be seen."""
    code = (
        "import sys, io, contextlib\nfrom stillhouse.cli.main import main\n"
        f"for line in {list(FAULTS)!r}:\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as words:\n        status = main(line.split())\n"
        "    print(status, 'torch' in sys.modules, ' | '.join(words.getvalue().splitlines()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert len(lines) == len(FAULTS)
    for (words, expected), line in zip(FAULTS.items(), lines, strict=True):
        assert line.startswith("2 False "), (words, line)
        assert expected in line, (words, line)


def test_names_that_are_known_early_are_those_that_there_are():
    """A recipe that was added and that the early look would refuse; its folder is named as it is."""
    from stillhouse.recipes import known, known_teachers

    assert list(recipes("run")) == sorted(known())
    assert list(recipes("teacher")) == sorted(known_teachers())
    assert list(recipes("teacher", "lm")) == ["tiny-shakespeare-teacher", "wikitext-2-teacher"]


def test_every_setting_and_flag_of_every_recipe_is_known_early():
    """A flag or key that the stored settings lack would be refused although the command takes it."""
    from stillhouse.core.config import to_mapping
    from stillhouse.core.flags import flags
    from stillhouse.recipes import known, known_teachers

    takes = {True: "switch", False: "one"}
    for kind, found in (("run", known()), ("teacher", known_teachers())):
        for name, recipe in found.items():
            config, roots = recipe(), [recipes(kind)[name]]
            check_settings(to_mapping(config), roots)
            for flag in flags(config):
                wanted = "many" if flag.is_list and not flag.is_bool else takes[flag.is_bool]
                short = "--" + flag.path[-1].replace("_", "-")
                assert wanted in {one["takes"] for _, one in stored_settings.settings_of(flag.name, roots)}, flag.name
                assert wanted in {one["takes"] for _, one in stored_settings.settings_of(short, roots)}, short


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("x", True),
        ("x --epochs 3 --no-training-determinate", False),
        ("x --epochs=3 --arms kd no-kd --training-learning-rate 1e-3", True),
        ("x --signals-3-weight 2 --temperature 4", True),
        ("x --data-name none --data-name mnist", True),
        ("x --data-name minst", False),
        ("x --signals-loss-weight 2", False),
        ("x y --epochs 3", False),
        ("x --epochs", False),
        ("x --student-classes 3", False),
    ],
)
def test_flags_are_judged_by_the_stored_settings(line, taken):
    """Only what no run of the recipe can have is refused, and that always."""
    parser = Parser(prog="stillhouse x")
    parser.add_argument("recipe")
    with nullcontext() if taken else pytest.raises(ConfigError):
        check_flags(parser, line.split(), [recipes("run")["digits"]])
    assert parser.parse(["x"]).recipe == "x"  # left as it was


def test_keys_that_are_of_another_place_are_left_to_the_configuration():
    """It says where they belong, which is worth the wait; what may hold anything is not judged."""
    roots = [recipes("run")["digits"]]
    check_settings({"corpus": {}, "teacher": {"architecture": {"anything": 1}}, "signals": [{"weight": 1}]}, roots)
    with pytest.raises(ConfigError, match=r"signals\.0\.wieght: unknown key; did you mean 'weight'"):
        check_settings({"signals": [{"wieght": 1}]}, roots)


@pytest.mark.parametrize(
    "source", ["timm:resnet18", "timm:resnet18.a1_in1k", "torchvision:ResNet18", "timm:vit_tiny_r_s16_p8_224"]
)
def test_architectures_that_are_installed_are_known_early(source):
    """Names are read from the sources of the library; none that it has may be refused."""
    from stillhouse.cli.early import look

    look(["distill", "digits", "--teacher-source", source])


def test_the_early_look_refuses_nothing_that_is_right(place):
    """--resume goes on with a run; what is only printed needs no data; a folder that is there is read."""
    from stillhouse.cli.early import look

    (place / "photos").mkdir()
    for line in (
        "distill digits --out taken --resume",
        "distill mine.yaml",
        "distill digits --out new",
        "check digits --set teacher.source=timm:resnet18",
        "cache merge a b --out c",
        "distill --quiet digits",
    ):
        look(line.split())
    (place / "photos").rmdir()
    look(["distill", "mine.yaml", "--print-config"])


def test_the_early_look_refuses_what_is_wrong(place):
    """Without it the same faults would be seen, seconds later."""
    from stillhouse.cli.early import look

    for line, words in FAULTS.items():
        if line.split()[0] in {"distill", "check", "cache", "train-teacher"} and not FLAGS & set(line.split()):
            with pytest.raises(StillhouseError, match=re.escape(words)):
                look(line.split())
