"""Faults of settings, verdicts, plain models and refusals; see `faults.py`."""

from __future__ import annotations

from plant import Fault, constant, edited

# fmt: off

SETTINGS = (
    Fault("a part of another kind keeps the settings of the old one", "stillhouse.core.config:override",
          edited('path[-1] == "kind" and len(path) > 1', "False"),
          "tests/cli/test_help.py::test_a_recipe_takes_another_student_by_one_word"),
    Fault("the order of settings decides", "stillhouse.core.config:override",
          edited('sorted(pairs, key=lambda pair: len(pair[0]) - 0.5 * (pair[0][-1] == "kind"))', "pairs"),
          "tests/cli/test_help.py::test_a_recipe_takes_another_student_by_one_word"),
    Fault("any student has controls of clauses", "stillhouse.tasks.classification.plan:has_clauses", constant(True),
          "tests/test_config.py::test_a_setting_of_another_kind_of_student_is_refused"),
    Fault("arms that the new student lacks stay", "stillhouse.tasks.classification.task:ClassificationTask.rebased",
          edited('mapping["arms"] != list(base.arms)', "True"),
          "tests/cli/test_help.py::test_a_recipe_takes_another_student_by_one_word"),
    Fault("a documented name of a flag is another setting", "stillhouse.cli.options:Parser.given",
          edited('for one in path.rstrip("?*+").split():', 'for one in path.rstrip("?*+").split()[:0]:'),
          "tests/cli/test_help.py::test_documented_names_of_flags_are_taken"),
    Fault("list leaves out what it cannot import", "stillhouse.cli.list:described",
          edited("node.name.endswith(ends)", 'node.name.endswith("XConfig")'),
          "tests/cli/test_help.py::test_what_is_listed_is_what_there_is"),
)

SAME_WORD = "tests/report/test_one_verdict.py::test_every_place_prints_the_same_word"
ONE_RULE = "tests/report/test_one_verdict.py::test_the_number_of_seeds_is_asked_of_one_place"
WORDS = (
    Fault("two seeds carry a verdict", "stillhouse.core.verdict:untested", edited("seeds >= FEWEST_SEEDS", "seeds >= 2"),
          SAME_WORD),
    Fault("a trade-off is folded into one word", "stillhouse.core.verdict:trades_off", constant(False),
          "tests/report/test_one_verdict.py::test_a_trade_off_is_two_verdicts"),
    Fault("nothing gained is no harm", "stillhouse.core.verdict:leading",
          edited('"hurts", "no difference shown"', '"no difference shown", "hurts"'),
          "tests/report/test_one_verdict.py::test_hurts_is_said_only_where_nothing_is_gained"),
    Fault("the verdict of a run is drawn from strangers too", "stillhouse.core.verdict:judged",
          edited("return [row for row in rows if all(", "return [row for row in rows if True or all("),
          "tests/report/test_one_verdict.py::test_embeddings_are_judged_by_near_and_far_together"),
    Fault("the summary has the word of its first comparison", "stillhouse.core.summary:summarize",
          edited("overall(comparisons, {name: metric.label for name, metric in metrics.items()})", 'comparisons[0]["verdict"]',),
          SAME_WORD),
    Fault("the terminal has a word of its own", "stillhouse.cli.show:print_verdict", edited("{summary['verdict']}", "none yet"),
          SAME_WORD),
    Fault("the card takes the word of the summary whatever the seeds", "stillhouse.core.model_card:findings",
          edited('overall(summary["comparisons"] if rows else (), labels)', 'summary["verdict"]'),
          "tests/conformance/test_hub.py::test_two_seeds_are_no_verdict"),
    Fault("the page has a word of its own", "stillhouse.report.verdicts:headline",
          edited("{in_words(row)}", "too few seeds"),
          SAME_WORD),
    Fault("a comparison of runs leaves out why", "stillhouse.report.compare:_against",
          edited("in_words(found)", "found.verdict"),
          SAME_WORD),
    Fault("a comparison of runs has a word for few seeds", "stillhouse.report.compare:difference_cell",
          edited('row["word"]', "'better'"),
          SAME_WORD),
    Fault("verify has words of its own", "stillhouse.cli.compare:judge",
          edited("in_words(found)", '{"helps": "better", "hurts": "worse"}.get(found.verdict, found.verdict)'),
          SAME_WORD),
    Fault("a mean of few seeds has an interval", "stillhouse.report.verdicts:spread_words",
          edited("untested(len(values))", "len(values) < 3"), ONE_RULE),
    Fault("a chart has a rule of its own", "stillhouse.report.words:interval_words", edited("if untested(count)", "if count < 3"),
          ONE_RULE),
    Fault("a report of old says that two seeds help", "stillhouse.core.verdict:verdict_of", edited("untested(int(seeds))", '""'),
          "tests/report/test_report_page.py::test_two_seeds_have_no_verdict_in_the_headline"),
)

ROWS = "tests/vision/test_plain_models.py::test_every_run_with_classes_has_both_as_rows"
PLAIN = (
    Fault("the headline hides a better linear classifier", "stillhouse.report.verdicts:beside_plain", constant(""),
          "tests/report/test_one_verdict.py::test_a_student_below_a_plain_model_is_said_on_page_card_and_terminal"),
    Fault("a student below a plain model stands nowhere", "stillhouse.core.verdict:standing", constant(""), ROWS),
    Fault("plain models are no rows", "stillhouse.tasks.classification.task:ClassificationTask.arms",
          edited("for name in named), *plain]", "for name in named)]"), ROWS),
    Fault("the linear classifier reads first rows", "stillhouse.tasks.classification.plain:numbers_of",
          edited("split.sample(MOST_ROWS).batches(BATCH)", "[split.batch(torch.arange(MOST_ROWS))]"),
          "tests/vision/test_plain_models.py::test_what_it_reads_is_bounded"),
    Fault("the linear classifier reads every pixel of large images", "stillhouse.tasks.classification.plain:numbers",
          edited("shrink = min(1.0, ", "shrink = max(1.0, "), "tests/vision/test_plain_models.py::test_what_it_reads_is_bounded"),
    Fault("the linear classifier is fitted on the test split", "stillhouse.tasks.classification.plain:linear",
          edited("(labelled_rows(data.train), data.validation)", "(data.test, data.validation)"),
          "tests/vision/test_plain_models.py::test_the_linear_classifier_is_logistic_regression_on_the_pixels"),
    Fault("the linear classifier takes the first strength", "stillhouse.tasks.classification.plain:linear",
          edited("for strength in STRENGTHS]", "for strength in STRENGTHS[:1]]"),
          "tests/vision/test_plain_models.py::test_the_linear_classifier_is_logistic_regression_on_the_pixels"),
    Fault("padding is a word", "stillhouse.tasks.classification.plain:numbers", edited("ids != input_spec.padding", "ids >= 0"),
          "tests/vision/test_plain_models.py::test_texts_are_read_as_counts_of_tokens"),
    Fault(
        "every class is as common",
        "stillhouse.tasks.classification.plain:commonest",
        edited(
            "counts = torch.bincount(labelled_rows(data.train).labels, minlength=data.input_spec.num_classes).double()",
            "counts = torch.ones(data.input_spec.num_classes).double()",
        ),
        "tests/vision/test_plain_models.py::test_the_commonest_class_has_the_shares_of_the_training_labels",
    ),
)

LEFT = "tests/cli/test_nothing_left.py::test_what_is_refused_leaves_no_folder"
NEXT = "tests/cli/test_nothing_left.py::test_the_next_try_begins_in_the_same_folder"
CONFORMANCE = "tests/conformance/test_every_task.py"
REFUSALS = (
    Fault("what a refused run began stays", "stillhouse.core.folder:RunFolder.open", edited("if not before and", "if False and"),
          f"{CONFORMANCE}::test_what_is_refused_before_anything_is_trained_leaves_nothing"),
    Fault("a run that trained nothing blocks the next", "stillhouse.core.folder:_holds_training", constant(True), NEXT),
    Fault("a finished run is written over", "stillhouse.core.folder:RunFolder.open", edited("not resume and", "False and"),
          f"{CONFORMANCE}::test_a_run_that_trained_nothing_does_not_block_the_next"),
    Fault(
        "a unsupported_reason takes what was trained",
        "stillhouse.core.folder:RunFolder.open",
        edited(
            'if not before and not getattr(error, "keeps", False) and not _holds_training(path):', "if there.clear() is None:"
        ),
        f"{CONFORMANCE}::test_a_refusal_takes_nothing_from_a_run_that_goes_on",
    ),
    Fault("a trial that was stopped early leaves no records", "stillhouse.core.folder:RunFolder.open",
          edited('getattr(error, "keeps", False)', "False"),
          "tests/sweeps/test_sweep.py::test_a_trial_behind_the_median_is_stopped"),
    Fault("a card without its task is a KeyError", "stillhouse.tasks.classification.card:read_card",
          edited("except (KeyError, TypeError, AttributeError)", "except ZeroDivisionError"), NEXT),
)

VERDICTS = (*SETTINGS, *WORDS, *PLAIN, *REFUSALS)
