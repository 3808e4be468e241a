"""Planted faults of what explains a clause student: rows it looks at, rules it keeps, overlays, how clauses are shared out."""

from __future__ import annotations

import numpy as np
from plant import Fault, constant, edited

# fmt: off

CLAUSES = "stillhouse.tasks.classification"
PART = "__import__('stillhouse.tasks.classification.data.split', fromlist=['Part']).Part"
PARTS = "tests/test_sample.py::test_a_part_of_a_split_holds_every_class_in_its_share"
RULES = "tests/students/test_tm_rules.py"
RUNS = "tests/vision/test_vision_runs.py"

EXPLAINED = (
    Fault("a sample is the first rows", "stillhouse.core.sample:sample_rows",
          lambda original: lambda rows, count, **rest: np.arange(rows if count is None else min(rows, count)),
          "tests/vision/test_class_folders.py::test_rules_are_judged_as_the_student_is[transformer]"),
    Fault("a sample is drawn without its classes", "stillhouse.core.sample:sample_rows",
          edited("if labels is None else", "if True else"),
          "tests/test_sample.py::test_every_class_has_its_share_whatever_the_order"),
    Fault("a sample's labels are those of other rows", "stillhouse.tasks.classification.data.split:Part.batch",
          edited("self.rows.index_select(0, index)", "index"),
          "tests/test_sample.py::test_a_sample_of_any_split_is_its_rows_in_its_order[images]"),
    Fault("rules are judged on the first test images", f"{CLAUSES}.students.rules:find_rules",
          edited("test.sample(", "(lambda n: Part(test, torch.arange(min(n, len(test)))))("),
          "tests/test_sample.py::test_rules_are_chosen_cut_and_judged_on_every_class"),
    Fault("rules are cut on the first validation images", f"{CLAUSES}.students.rules:find_rules",
          edited("validation.sample(CUT_ROWS)", "Part(validation, torch.arange(min(CUT_ROWS, len(validation))))"),
          "tests/test_sample.py::test_rules_are_chosen_cut_and_judged_on_every_class"),
    Fault("overlays show the first test images", f"{CLAUSES}.vision.overlays:write_overlays",
          edited("data.test.sample(samples)", f"{PART}(data.test, torch.arange(samples))"),
          "tests/vision/test_class_folders.py::test_overlays_show_every_class"),
    Fault("heads are weighed by the first validation images", f"{CLAUSES}.specialize:clause_usage",
          edited("split.sample(rows)", f"{PART}(split, torch.arange(rows))"), f"{PARTS}[usage]"),
    Fault("a re-made head is fitted on the first rows", "stillhouse.tasks.classification.teachers:_member",
          edited("labelled_rows(data.train).sample(HEAD_ROWS)", f"{PART}(data.train, torch.arange(HEAD_ROWS))"), f"{PARTS}[head]"),
    Fault("the plain score is of the first rows", "stillhouse.tasks.classification.plain:numbers_of",
          edited("split.sample(MOST_ROWS)", f"{PART}(split, torch.arange(MOST_ROWS))"), f"{PARTS}[plain]"),
    Fault("spikes are counted on the beginning of a text", "stillhouse.tasks.lm.corpus:Windows.sample",
          edited("sample_rows(len(self), count)", "np.arange(min(count, len(self)))"),
          "tests/test_sample.py::test_windows_of_a_sample_are_from_the_whole_text"),
    Fault("vectors are graded on the first rows", "stillhouse.tasks.embed.score:teacher_check",
          edited("judged[sample_rows(len(judged), rows_judged)]", "judged[:rows_judged]"),
          "tests/embed/test_embed_task.py::test_clusters_in_order_are_not_noise"),
    Fault("the unit of noise is that of the first rows", "stillhouse.tasks.embed.job:EmbeddingJob._spread",
          edited("sample_rows(len(self.train), 1000)", "np.arange(1000)"),
          "tests/training/test_embedding_job.py::test_the_unit_of_the_noise_is_that_of_all_rows"),
    Fault("a rule that holds on every class is kept", f"{CLAUSES}.students.rules:tells", constant(True),
          f"{RULES}::test_a_clause_that_fires_on_every_class_is_no_rule_of_one"),
    Fault("a cut rule may hold on every class", f"{CLAUSES}.students.rules:_cut",
          edited("not tells(pair, fulfilled, chosen.labels, k)", "False"),
          f"{RULES}::test_a_clause_that_would_hold_on_all_classes_alike_stays_whole"),
    Fault("rules are drawn where clauses decide nothing", f"{CLAUSES}.rules_file:decides", constant(True),
          "tests/report/test_rules_report.py::test_where_clauses_decide_nothing_no_rule_is_drawn"),
    Fault("the numbers at a glance do not say of how many rows", "stillhouse.tasks.classification.report:_tiles",
          edited('"test rows" if tested is None', '"test rows" if True'),
          "tests/vision/test_class_folders.py::test_every_accuracy_says_whose_it_is_and_on_which_images[tm]"),
    Fault("an accuracy does not say on which images", f"{CLAUSES}.rules_file:judged", constant("test images"),
          "tests/vision/test_class_folders.py::test_every_accuracy_says_whose_it_is_and_on_which_images[tm]"),
    Fault("every block needs as many clauses", "stillhouse.tasks.classification.vision.auto_clause:allocate_clauses",
          edited("(0.5 + 0.5 * follow)", "(1.0 + 0.0 * follow)"),
          f"{RUNS}::test_clauses_move_away_from_a_useless_block[1]"),
    Fault("a block is worth what its clauses cost", "stillhouse.tasks.classification.vision.auto_clause:worth_of_blocks",
          edited("for x in without]", "for x in [-x for x in without]]"),
          f"{RUNS}::test_a_block_is_worth_what_its_clauses_do_for_the_loss"),
    Fault("the shared budgets are not logged", f"{CLAUSES}.vision.auto_clause:allocate_clauses",
          edited('log(f"Auto-tuned', '(lambda line: None)(f"Auto-tuned'), f"{RUNS}::test_the_budgets_are_logged_before_training"),
    Fault("overlays show the attention of the first block", f"{CLAUSES}.vision.overlays:maps_of",
          edited("list(model.named_blocks())[-1][1]", "list(model.named_blocks())[0][1]"),
          "tests/vision/test_overlays.py::test_attention_maps_are_those_of_the_last_block"),
    Fault("the number of classes in an overlay is ignored", "stillhouse.tasks.classification.vision.outputs:write_outputs",
          edited("topk=output.overlay_topk", "topk=3"),
          f"{RUNS}::test_an_overlay_has_as_many_bars_as_classes_are_wanted[4]"),
    Fault("an overlay's bars are always three", f"{CLAUSES}.vision.overlays:_bars", edited("[:topk]", "[:3]"),
          f"{RUNS}::test_an_overlay_has_as_many_bars_as_classes_are_wanted[1]"),
)
