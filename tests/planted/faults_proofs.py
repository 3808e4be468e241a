"""Faults that no test caught when they were first planted, and one for each row of docs/features.md that had none.

Two lines a fault: what it is and where; what it makes of the source, and the test that must fail.
"""

from __future__ import annotations

from plant import Broken, Fault, constant, edited, nothing

# fmt: off


def fault(name: str, target: str, breaks: Broken, test: str) -> Fault:
    """One of a target in this package, by a test of this folder."""
    package = "" if target.startswith("fptm_ste") else "stillhouse."
    return Fault(name, package + target, breaks, f"tests/{test}")


ALONG = "conformance/test_learned_along.py::test_what_is_learned_along_moves"
ASKED = "conformance/test_what_is_asked.py::test_"
ALIKE = "conformance/test_every_family.py::test_both_arms_of_a_seed_begin_alike_and_see_equal_rows"
FAMILIES = ("images", "clauses", "sar", "lm", "embed")
SWEEP = "documents/test_features.py::test_the_sweep_writes_a_summary"
TABLES = "metrics/test_forward_memory.py::test_both_tables_by_one_command"
EPOCHS = "vision/test_vision_first_use.py::test_every_epoch_has_its_losses_and_the_table_the_mean_of_the_seeds"

LEARNED_ALONG = (
    *(fault(f"extras are left out of the optimizer: {kind}", "training.optimizer:extra_groups", constant([]), f"{ALONG}[{kind}]")
      for kind in FAMILIES),
    fault("what has no group of its own is left out of the optimizer", "training.optimizer:extra_groups",
          edited("return groups + ([", "return groups or (["), f"{ALONG}[images]"),
    fault("weights of teachers are not learned", "training.optimizer:extra_groups",
          edited("rest = [p for p", "rest = [p for p in extras.parameters() if p.ndim > 1 and id(p) not in taken] or [p for p"),
          f"{ALONG}[images, two teachers]"),
    fault("several language teachers have no networks to split", "training.distillation:networks_of",
          edited("several or getattr", "getattr"), f"{ALONG}[lm, two teachers]"),
    *(fault(f"a projector is in the shipped student: {kind}", "training.distillation:DistillJob.__init__",
            edited("super().__init__(model, rows", "model.extras = extras or nn.ModuleList(learned)\n    super().__init__(model, rows"),
            f"{ALONG}[{kind}]") for kind in FAMILIES),
)

ASKED_OF_A_TRAINING = (
    *(fault(f"the control's dropout is another: {kind}", "core.pipeline:_through_stages", edited("seed=seed,", "seed=seed + (not taught),"),
            f"{ALIKE}[{kind}]") for kind in FAMILIES[:4]),
    fault("the language teacher is left in training mode", "families.lm.teachers.teacher:LanguageTeacher.__init__",
          edited("network.eval()", "network.train()"), f"{ASKED}teachers_are_asked_in_evaluation_mode[lm]"),
    fault("the radar teacher is left in training mode", "families.sar.teacher:LineTeacher.__post_init__",
          edited("module.eval()", "module.train()"), f"{ASKED}teachers_are_asked_in_evaluation_mode[sar]"),
    *(fault(f"the teacher is asked in training mode: {kind}", "teachers.teacher:NetworkTeacher.__call__",
            edited("module.eval()", "module.train()"), f"{ASKED}teachers_are_asked_in_evaluation_mode[{kind}]")
      for kind in ("images", "clauses")),
    *(fault(f"the test split picks the epoch: {kind}", "classification.job:ClassificationJob.validate",
            edited("self.data.validation, self", "self.data.test, self"), f"{ASKED}the_test_split_is_not_there_while_training[{kind}]")
      for kind in ("images", "clauses")),
    fault("the test split picks the epoch: sar", "families.sar.job:SarJob.validate", edited("self.data.validation", "self.data.test"),
          f"{ASKED}the_test_split_is_not_there_while_training[sar]"),
    fault("the test split picks the epoch: lm", "families.lm.family:LanguageFamily.job", edited("data.valid)", "data.test)"),
          f"{ASKED}the_test_split_is_not_there_while_training[lm]"),
    fault("the test split picks the epoch: embed", "families.embed.family:EmbedFamily.job",
          edited("lab.data.validation", "lab.data.rows(lab.data.test)"), f"{ASKED}the_test_split_is_not_there_while_training[embed]"),
    *(fault(f"what is scored is augmented: {kind}", "classification.job:ClassificationJob.validate",
            edited("tapped(batch.inputs", "tapped(self.data.augment(batch.inputs, seed=0)"), f"{ASKED}what_changes_training_rows_changes_no_score[{kind}]")
      for kind in ("images", "clauses")),
    fault("what is scored is noisy", "families.embed.job:_Judge.__call__",
          edited("encode(self.vectors)", "encode(self.vectors + 0.1 * np.random.default_rng().normal(size=self.vectors.shape))"),
          f"{ASKED}what_changes_training_rows_changes_no_score[embed]"),
)

NOT_CAUGHT = (
    fault("the average is neither scored nor kept", "training.loop:_Trainer._validate",
          edited("self.model if self.average is None else self.average.module", "self.model"),
          "training/test_loop.py::test_the_average_follows_buffers_and_does_not_lag_in_a_short_run"),
    fault("the average is the last weights", "training.loop:_Trainer._build_average", edited("decay=self.config.ema_decay", "decay=0.0"),
          "training/test_loop.py::test_the_average_follows_buffers_and_does_not_lag_in_a_short_run"),
    fault("an epoch takes no time", "training.loop:_Trainer._epoch", edited("self.state.seconds = before +", "self.state.seconds = 0 *"), EPOCHS),
    fault("every epoch takes as long", "families.clauses.vision.board:epochs_of", edited("{**entry,", "{**entry, 'seconds': 1.0,"), EPOCHS),
    fault("every network is as fast", "fptm_ste.benchmark_profiles:_timed", edited("found = median(seconds)", "found = 0.01"), TABLES),
    fault("a latency is that of the slowest call", "fptm_ste.benchmark_profiles:_timed", edited("median(seconds)", "max(seconds)"),
          "metrics/test_forward_memory.py::test_a_latency_is_the_clocks"),
    fault("throughput is the same for all", "fptm_ste.benchmark_profiles:_timed", edited("len(images) / found", "100.0"), TABLES),
    fault("a table prints a latency of its own", "fptm_ste.benchmark_profiles:in_words", edited("{row['median_ms']:.1f}", "10.0"), TABLES),
    fault("the sweep passes no drop-path", "fptm_ste.imagenet_sweeps:main", edited('"--transformer-drop-path", drop', '"--transformer-drop-path", "0.1"'), SWEEP),
    fault("the sweep passes no clauses", "fptm_ste.imagenet_sweeps:main", edited(', "--transformer-clauses", clauses', ""), SWEEP),
    fault("the sweep ignores --dataset-root", "fptm_ste.imagenet_sweeps:main", edited("options.dataset_root,", '"data/imagenet",'), SWEEP),
    fault("a ramp of mixing reaches no image", "classification.job:ClassificationJob.batch",
          edited("self.config.mixing.alphas_at(progress, self.config.epochs)", "(self.config.mixing.mixup_alpha, self.config.mixing.cutmix_alpha)"),
          "training/test_mixing.py::test_ramps_start_at_nothing_and_end_at_all_of_it"),
    fault("labels are smoothed twice", "classification.job:ClassificationJob.task_terms",
          edited("smoothing=self.config.label_smoothing", "smoothing=1 - (1 - self.config.label_smoothing) ** 2"),
          "training/test_mixing.py::test_labels_are_smoothed_once_mixed_or_not[mixing0]"),
    fault("labels of mixed images are not smoothed", "losses.classification:label_cross_entropy",
          edited('shares, reduction="none", label_smoothing=smoothing', 'shares, reduction="none"'),
          "training/test_mixing.py::test_labels_are_smoothed_once_mixed_or_not[mixing1]"),
    fault("eight bits are four", "families.sar.students.quantization:to_int8", edited("largest / 127 if", "largest / 7 if"),
          "sar/test_sar_words.py::test_eight_bits_lie_on_the_disk"),
    fault("the trajectory counts nothing", "signals.dynamics:DynamicsSignal.forward",
          edited("total = config.trajectory_weight * trajectory", "total = 0 * trajectory"),
          "signals/test_dynamics_signal.py::test_the_value_is_the_sum_of_both_parts"),
    fault("derivatives are taken at the student's depths", "signals.dynamics:DynamicsSignal.forward",
          edited("teacher_depths=self.depths[1]", "teacher_depths=self.depths[0]"),
          "signals/test_dynamics_signal.py::test_the_signal_gives_both_sides_their_own_depths"),
    fault("a layer is paired with the one before", "signals.hidden:HiddenConfig.targets",
          edited("(of_teacher[teacher - 1],)", "(of_teacher[max(0, teacher - 2)],)"),
          "signals/test_hidden_signal.py::test_layers_are_paired_and_tapped[more0-pairs0]"),
    fault("hard rows come first", "curricula.baby_steps:rows_in_order", edited("np.lexsort((shuffled, scores))", "np.lexsort((shuffled, -scores))"),
          "curricula/test_baby_steps.py::test_the_easy_subset_has_the_smaller_loss"),
    fault("the rows of a stage are all rows", "curricula.curriculum:Curriculum._draw", edited("self.subsets[stage]", "self.subsets[-1]"),
          "curricula/test_curriculum.py::test_easy_rows_come_first_and_hard_ones_in_the_anti_curriculum"),
    fault("a high overlap counts as hard", "curricula.difficulty:fuse", edited("EASY[name]", '"low" if name == "rouge-l" else EASY[name]'),
          "curricula/test_difficulty.py::test_high_is_hard_in_every_measure"),
    fault("axes of a graph are not centred", "families.embed.graph:_reduced", edited("(sample - mean).t() @ (sample - mean)", "sample.t() @ sample"),
          "training/test_embedding_job.py::test_blocks_are_searched_on_the_principal_axes_of_scikit_learn"),
    fault("one literal failure too many", "families.clauses.students.clauses:ClauseBank.forward",
          edited("float(self.failures)", "float(self.failures + 1)"), "students/test_clauses.py::test_one_matrix_product_equals_counting"),
    fault("one literal failure too many once it is trained", "families.clauses.students.clauses:ClauseBank.capacity",
          edited("float(self.failures)", "float(self.failures + 1)"),
          "students/test_clauses.py::test_integer_evaluation_is_exact_and_follows_the_weights[capacity-False]"),
    fault("a loss is averaged process by process", "training.loop:_Trainer._terms",
          edited("sizes[ranks.rank()] * ranks.count() / sum(sizes)", "1.0"), "training/test_processes.py::test_two_processes_train_as_one[labels]"),
)

FAULTS: tuple[Fault, ...] = (*LEARNED_ALONG, *ASKED_OF_A_TRAINING, *NOT_CAUGHT)
