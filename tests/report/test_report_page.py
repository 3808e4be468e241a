"""What the page says, and that nothing missing, broken or hostile in a run folder stops or bends it."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.manifest import list_files
from stillhouse.report.page import write_page
from stillhouse.report.words import GAP, sentence
from stillhouse.tasks.classification.task import TASK

pytestmark = pytest.mark.drawn

MEASURES = {metric.name: metric for metric in TASK.metrics}

SECTIONS = ("Arms", "What was run", "Learning curves")
SECTIONS += ("Cost", "Do it again")


def page_of(out):
    return write_page(TASK, out).read_text(encoding="utf-8")


def words_of(page):
    """The text of a page, tags out, white space (also the unbreakable) as single blanks."""
    text = re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", text.replace("&nbsp;", " ").replace("&#39;", "'"))


class Tags(HTMLParser):
    """Collects (tag, attributes) and notes tags that are closed out of order."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, page):
        super().__init__()
        self.found, self.stack, self.crossed = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.crossed.append(tag)


@pytest.fixture(scope="module")
def page(finished):
    return page_of(finished)


@pytest.fixture
def undrawn(monkeypatch):
    """Build every figure but do not write it out as SVG, which takes most of the time."""
    monkeypatch.setattr("stillhouse.report.figures._svg", lambda figure, name, label: Markup("<svg></svg>"))


def test_the_verdict_comes_first_in_words_with_the_numbers_of_the_summary(page, finished):
    """A report whose sentence and summary.json disagree is worse than none."""
    summary, text = records.read_json(finished / records.SUMMARY), words_of(page)
    for row, lead in zip(summary["comparisons"], ("The teacher: helps;", "The clauses: helps;")):
        arm, control = (100 * summary["arms"][row[key]]["accuracy"]["mean"] for key in ("arm", "control"))
        means = f"accuracy: kd {arm:.2f} % against {row['control']} {control:.2f} %"
        difference = f"difference {100 * row['difference']:+.2f} points"
        interval = f"(95 % interval {100 * row['low']:+.2f} to {100 * row['high']:+.2f}), 3 seeds, 719 test rows."
        assert f"{lead} {means}, {difference} {interval}" in text
    assert text.index("The teacher: helps") < text.index("Arms")


def test_the_page_asks_for_nothing_and_runs_nothing(page):
    """A report is mailed and archived: a font or script from elsewhere would break it, or tell who reads it."""
    tags = Tags(page)
    assert not tags.crossed
    assert not tags.stack
    assert "http://" not in page
    assert "https://" not in page
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in tags.found}
    for tag, attributes in tags.found:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "xlink:href", "srcset", "poster", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, name)
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)\)", page))
    assert "@import" not in page


def test_hostile_names_are_escaped(run_folder):
    """Class names come from folder names, commands from a shell: none may become markup, or mathematics in a figure."""
    bad = '<script>alert("x")</script>&$_{$'
    for name in (records.RUN, records.SUMMARY):
        data = records.read_json(run_folder / name)
        if name == records.RUN:
            data["data"]["class_names"][0] = data["data"]["name"] = bad
        else:
            data["command"] = data["teacher"]["name"] = data["comparisons"][0]["name"] = bad
            data["comparisons"][1]["control"] = data["versions"]["torch"] = bad
            data["arms"] = {**data["arms"], bad: data["arms"]["kd"]}
        records.write_json(run_folder / name, data)
    text = page_of(run_folder)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 6
    assert not Tags(text).crossed


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("missing", "without"),
    [
        (records.RUN, ()),
        (records.TEACHER, ()),
        (records.TEACHER_PREDICTIONS, ()),
        ("arms", ("Learning curves",)),
        (records.SUMMARY, ("Arms", "Cost")),
    ],
)
def test_what_is_missing_is_left_out_and_the_rest_stays(run_folder, missing, without):
    path = run_folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(run_folder)
    shown = {title: f"<h2>{title}</h2>" in page for title in SECTIONS}
    assert shown == {title: title not in without for title in SECTIONS}


def test_an_unfinished_run_gives_a_partial_report_that_says_so(run_folder):
    """People look while it runs: a short or torn series, a seed without result, an empty seed folder."""
    (run_folder / records.SUMMARY).unlink()
    shutil.rmtree(records.arm_folder(run_folder, "clauses-off", 1))
    records.arm_folder(run_folder, "clauses-off", 1).mkdir()
    late = records.arm_folder(run_folder, "no-kd", 2)
    for name in (records.RESULT, records.PREDICTIONS):
        (late / name).unlink()
    lines = (late / records.RECORDS).read_text().splitlines()
    (late / records.RECORDS).write_text("\n".join(lines[:8]) + '\n{"split": "tra')
    page = page_of(run_folder)
    text = words_of(page)
    assert "This run is not finished" in text
    assert "helps" not in text.split("What the words mean")[0]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="is not a run folder"):
            write_page(TASK, folder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "verdict", "lead"),
    [
        ("teacher", "hurts", "The teacher: hurts"),
        ("clauses against MLP", "no difference shown", "The clauses against MLP: no difference shown"),
        ("mlp", "helps", "kd against mlp: helps"),
        ("clauses", "not tested", "The clauses: not tested"),
    ],
)
def test_every_verdict_is_a_plain_sentence(name, verdict, lead):
    control = "mlp" if name == "mlp" else "other"
    row = {"name": name, "arm": "kd", "control": control, "verdict": verdict, "metric": "accuracy"}
    assert sentence(row, {}, MEASURES).lead == lead


@pytest.mark.usefixtures("undrawn")
def test_a_poor_teacher_is_named_on_the_first_screen(run_folder):
    """Under a teacher that a count of words beats, every verdict on its teaching is one on that."""
    path = run_folder / records.TEACHER
    teacher = records.read_json(path)
    assert "The teacher is poor" not in page_of(run_folder)
    records.write_json(
        path, teacher | {"status": "poor", "plain": 0.9, "baseline_name": "a linear model", "score": 0.5}
    )
    head = words_of(page_of(run_folder).partition("</header>")[0])
    assert "The teacher is poor: validation accuracy 0.5000, a linear model 0.9000" in head


def test_a_file_that_went_missing_is_named(run_folder):
    """A section that is silently gone looks as if the run never had it."""
    place = run_folder / "arms" / "kd" / "seed-0"
    list_files(run_folder)
    gone = re.compile(r"(\S+\.\w+) is missing[,:]")
    assert not gone.findall(words_of(page_of(run_folder)))
    (place / records.RECORDS).unlink()
    (run_folder / records.TEACHER_PREDICTIONS).unlink()
    text = words_of(page_of(run_folder))
    assert "teacher_predictions.npz is missing, and the run had left it" in text
    assert "records.jsonl is missing, and the run had left it" in text
    assert len(gone.findall(text)) == 2
    lines = []
    write_page(TASK, run_folder, log=lines.append)
    assert len([line for line in lines if "missing" in line]) == 2  # what `stillhouse report` prints beside the path


def test_two_seeds_have_no_verdict_in_the_headline(run_folder):
    """Two seeds at -6.8 and -11.0 look like harm under the words "no difference shown"; the first screen says what they are."""
    summary = json.loads((run_folder / "summary.json").read_text())
    rows = [row | {"seeds": 2} for row in summary["comparisons"]]
    records.write_json(run_folder / records.SUMMARY, summary | {"seeds": [0, 1], "comparisons": rows})
    text = page_of(run_folder)
    head = re.search(r"<h1>(.*?)</h1>", text, re.DOTALL)[1]
    assert "The teacher: not tested (2 seeds; a verdict needs 3) (accuracy: with the teacher" in head
    assert "helps" not in head
    assert '<li class="helps">' not in text
    assert "2 seeds; a verdict needs 3" in text
    caption = "Hollow dot: difference under 2 seeds, too few for an interval over seeds. Right of 0 is better."
    assert caption in words_of(text)


def test_the_headline_has_the_numbers_of_the_comparison_that_it_names(run_folder):
    """Ahead in one measure and behind in another: folded into "falls behind", the gain was hidden."""
    summary = json.loads((run_folder / "summary.json").read_text())
    row = {"name": "no-kd", "arm": "kd", "control": "no-kd", "difference": 0.01, "low": 0.0, "high": 0.02}
    ahead = row | {"metric": "accuracy", "verdict": "helps"}
    behind = row | {"metric": "nll", "verdict": "hurts", "difference": -0.01, "low": -0.02, "high": 0.0}
    both = summary | {"comparisons": [ahead, behind]}
    records.write_json(run_folder / records.SUMMARY, both)
    head = re.search(r"<h1>(.*?)</h1>", page_of(run_folder), re.DOTALL)[1]
    words = words_of(head).replace(GAP, " ")
    means = [f"{100 * both['arms'][arm]['accuracy']['mean']:.2f} %" for arm in ("kd", "no-kd")]
    assert f"kd against no-kd: helps (accuracy: kd {means[0]} against no-kd {means[1]})" in words
    assert "; kd against no-kd: hurts (negative log-likelihood (nats): kd" in words
    level = ahead | {"verdict": "no difference shown"}
    records.write_json(run_folder / records.SUMMARY, summary | {"comparisons": [level, behind]})
    head = re.search(r"<h1>(.*?)</h1>", page_of(run_folder), re.DOTALL)[1]
    assert "hurts (negative log-likelihood (nats)" in head
    assert "accuracy" not in head
