"""Faults that no test caught when they were first planted, and one for each row of tests/documents/features.md that had none.

Two lines a fault: what it is and where; what it makes of the source, and the test that must fail.
"""

from __future__ import annotations

import sys

from plant import Broken, Fault, constant, edited, nothing

# fmt: off


def fault(name: str, target: str, breaks: Broken, test: str) -> Fault:
    """One of a target in this package, by a test of this folder."""
    package = "" if target.startswith("fptm_ste") else "stillhouse."
    return Fault(name, package + target, breaks, f"tests/{test}")


def sister(name: str) -> Broken:
    """Another function of the same module in its place."""
    return lambda original: vars(sys.modules[original.__module__])[name]


ALONG = "conformance/test_learned_along.py::test_what_is_learned_along_moves"
ASKED = "conformance/test_what_is_asked.py::test_"
ALIKE = "conformance/test_every_task.py::test_both_arms_of_a_seed_begin_alike_and_see_equal_rows"
TASKS = ("images", "clauses", "sar", "lm", "embed")
SWEEP = "documents/test_features.py::test_the_sweep_writes_a_summary"
TABLES = "metrics/test_forward_memory.py::test_both_tables_by_one_command"
EPOCHS = "vision/test_vision_first_use.py::test_every_epoch_has_its_losses_and_the_table_the_mean_of_the_seeds"

LEARNED_ALONG = (
    *(fault(f"extras are left out of the optimizer: {kind}", "training.optimizer:extra_groups", constant([]),
      f"{ALONG}[{kind}]") for kind in TASKS),
    fault("what has no group of its own is left out of the optimizer", "training.optimizer:extra_groups",
          edited("return groups + ([", "return groups or (["), f"{ALONG}[images]"),
    fault("what has a group of its own is left out of the optimizer", "training.optimizer:extra_groups",
          edited("return groups + (", "return ("), f"{ALONG}[images, two teachers]"),
    fault("several language teachers have no networks to split", "training.distillation:networks_of",
          edited("several or getattr", "getattr"), f"{ALONG}[lm, two teachers]"),
    *(fault(f"a projector is in the shipped student: {kind}", "training.loop:_Trainer.run",
      edited("self.model.eval()", 'self.model.eval().add_module("learned_along", self.extras)'), f"{ALONG}[{kind}]")
      for kind in TASKS[:4]),  # of an embedder named weights alone are written
)

ASKED_OF_A_TRAINING = (
    *(fault(f"the control's dropout is another: {kind}", "core.pipeline:_through_stages",
      edited("seed=seed,", "seed=seed + (not taught),"), f"{ALIKE}[{kind}]") for kind in TASKS[:4]),
    fault("the language teacher is left in training mode", "tasks.lm.teachers.teacher:LanguageTeacher.__init__",
          edited("network.eval()", "network.train()"), f"{ASKED}teachers_are_asked_in_evaluation_mode[lm]"),
    fault("the radar teacher is left in training mode", "tasks.sar.teacher:LineTeacher.__post_init__",
          edited("module.eval()", "module.train()"), f"{ASKED}teachers_are_asked_in_evaluation_mode[sar]"),
    *(fault(f"the teacher is asked in training mode: {kind}", "teachers.teacher:NetworkTeacher.__call__",
      edited("module.eval()", "module.train()"), f"{ASKED}teachers_are_asked_in_evaluation_mode[{kind}]")
      for kind in ("images", "clauses")),
    *(fault(f"the test split picks the epoch: {kind}", "tasks.classification.job:ClassificationJob.validate",
      edited("self.data.validation, self", "self.data.test, self"),
      f"{ASKED}the_test_split_is_not_there_while_training[{kind}]") for kind in ("images", "clauses")),
    fault("the test split picks the epoch: sar", "tasks.sar.job:SarJob.validate", edited("self.data.validation", "self.data.test"),
          f"{ASKED}the_test_split_is_not_there_while_training[sar]"),
    fault("the test split picks the epoch: lm", "tasks.lm.task:LanguageTask.job", edited("data.valid)", "data.test)"),
          f"{ASKED}the_test_split_is_not_there_while_training[lm]"),
    fault("the test split picks the epoch: embed", "tasks.embed.task:EmbedTask.job",
          edited("context.data,\n",
                 "setattr(context.data, 'validation', type(context.data.train)(context.data.store, context.data.test, "
                 "normalize=True)) or context.data,\n"),
          f"{ASKED}the_test_split_is_not_there_while_training[embed]"),
    *(fault(f"what is scored is augmented: {kind}", "tasks.classification.job:ClassificationJob.validate",
      edited("extractor(batch.inputs", "extractor(self.data.augment(batch.inputs, seed=0)"),
      f"{ASKED}what_changes_training_rows_changes_no_score[{kind}]") for kind in ("images", "clauses")),
    fault("what is scored is noisy", "tasks.embed.job:_Judge.__call__",
          edited("encode(self.vectors)", "encode(self.vectors + 0.1 * np.random.default_rng().normal(size=self.vectors.shape))"),
          f"{ASKED}what_changes_training_rows_changes_no_score[embed]"),
)

NOT_CAUGHT = (
    fault("the average is neither scored nor kept", "training.loop:_Trainer._validate",
          edited("self.model if self.average is None else self.average.module", "self.model"),
          "training/test_loop.py::test_the_average_follows_buffers_and_does_not_lag_in_a_short_run"),
    fault("the average is the last weights", "training.state:TrainingState._build_average",
          edited("decay=self.config.ema_decay", "decay=0.0"),
          "training/test_loop.py::test_the_average_follows_buffers_and_does_not_lag_in_a_short_run"),
    fault("an epoch takes no time", "training.loop:_Trainer._epoch", edited("before + time.monotonic() - started", "before"),
          EPOCHS),
    fault("every epoch takes as long", "tasks.classification.vision.board:epochs_of",
          edited("**scores, **mixed", "**scores, **mixed, 'seconds': 1.0"),
          EPOCHS),
    fault("every network is as fast", "fptm_ste.benchmark_profiles:_timed", edited("found = median(seconds)", "found = 0.01"),
          TABLES),
    fault("a latency is that of the slowest call", "fptm_ste.benchmark_profiles:_timed", edited("median(seconds)", "max(seconds)"),
          "metrics/test_forward_memory.py::test_a_latency_is_the_clocks"),
    fault("throughput is the same for all", "fptm_ste.benchmark_profiles:_timed", edited("len(images) / found", "100.0"), TABLES),
    fault("a table prints a latency of its own", "fptm_ste.benchmark_profiles:in_words", edited("{row['median_ms']:.1f}", "10.0"),
          TABLES),
    fault("the sweep passes no drop-path", "fptm_ste.imagenet_sweeps:main",
          edited('"--transformer-drop-path", drop', '"--transformer-drop-path", "0.1"'), SWEEP),
    fault("the sweep passes no clauses", "fptm_ste.imagenet_sweeps:main", edited(', "--transformer-clauses", clauses', ""), SWEEP),
    fault("the sweep ignores --dataset-root", "fptm_ste.imagenet_sweeps:main", edited("options.dataset_root,", '"data/imagenet",'),
          SWEEP),
    fault("a ramp of mixing reaches no image", "tasks.classification.job:ClassificationJob.batch",
          edited("self.config.mixing.alphas_at(progress, self.config.epochs)",
          "(self.config.mixing.mixup_alpha, self.config.mixing.cutmix_alpha)"),
          "training/test_mixing.py::test_ramps_start_at_nothing_and_end_at_all_of_it"),
    fault("labels are smoothed twice", "tasks.classification.job:ClassificationJob.task_terms",
          edited("self.config.label_smoothing", "1 - (1 - self.config.label_smoothing) ** 2"),
          "training/test_mixing.py::test_labels_are_smoothed_once_mixed_or_not[mixing0]"),
    fault("labels of mixed images are not smoothed", "losses.regression:label_cross_entropy",
          edited("label_smoothing=smoothing", "label_smoothing=0.0 if labels.ndim == 2 else smoothing"),
          "training/test_mixing.py::test_labels_are_smoothed_once_mixed_or_not[mixing1]"),
    fault("eight bits are four", "tasks.sar.students.compression:to_int8", edited("largest / 127 if", "largest / 7 if"),
          "sar/test_sar_words.py::test_eight_bits_lie_on_the_disk"),
    fault("the trajectory counts nothing", "signals.dynamics:DynamicsSignal.forward",
          edited("self._last = {", "total = 0 * total\n    self._last = {"),
          "signals/test_dynamics_signal.py::test_the_value_is_the_sum_of_both_parts"),
    fault("derivatives are taken at the student's depths", "signals.dynamics:DynamicsSignal.forward",
          edited("teacher_depths=self.depths[1]", "teacher_depths=self.depths[0]"),
          "signals/test_dynamics_signal.py::test_the_signal_gives_both_sides_their_own_depths"),
    fault("a layer is paired with the one before", "signals.hidden:HiddenConfig.targets",
          edited("(theirs[k - 1],)", "(theirs[max(0, k - 2)],)"),
          "signals/test_hidden_signal.py::test_layers_are_paired_and_tapped[more0-pairs0]"),
    fault("hard rows come first", "curricula.baby_steps:rows_in_order",
          edited("np.lexsort((shuffled, scores))", "np.lexsort((shuffled, -scores))"),
          "curricula/test_baby_steps.py::test_the_easy_subset_has_the_smaller_loss"),
    fault("the rows of a stage are all rows", "curricula.curriculum:Curriculum._draw",
          edited("self.subsets[stage]", "self.subsets[-1]"),
          "curricula/test_curriculum.py::test_easy_rows_come_first_and_hard_ones_in_the_anti_curriculum"),
    fault("a high overlap counts as hard", "curricula.difficulty:fuse",
          edited("EASY[name]", '"low" if name == "rouge-l" else EASY[name]'),
          "curricula/test_difficulty.py::test_high_is_hard_in_every_measure"),
    fault("one literal failure too many", "tasks.classification.students.clauses:ClauseBank.capacity",
          edited("float(self.failures)", "float(self.failures + 1)"),
          "students/test_clauses.py::test_one_matrix_product_equals_counting"),
    fault("a loss is averaged process by process", "training.loop:_Trainer._terms",
          edited("sizes[ranks.rank()] * ranks.count() / sum(sizes)", "1.0"),
          "training/test_processes.py::test_two_processes_train_as_one[labels]"),
)

FLAG = "vision/test_flag_table.py::test_the_flag_changes_something"
LAID_OUT = (
    ("SOURCE.THIS", "test_the_source_file_is_read_from_anywhere[bash]"),
    ("distillation_example", "test_the_example_shows_small_losses"),
)
WHOLE = "vision/test_vision_runs.py::test_a_whole_run_leaves_what_it_promises"

DOCUMENTS_000_AND_001 = (
    fault("the first model alone is trained", "tasks.classification.vision.run:run_models",
          edited("in config.models:", "in config.models[:1]:"), "vision/test_vision_runs.py::test_models_run_one_after_another"),
    fault("blocks have the clauses of the first", "tasks.classification.students.transformer:UnifiedTMTransformer.__init__",
          edited("stage, clauses, next(rates)", "stage, stage.clauses[0], next(rates)"), f"{FLAG}[--transformer-clauses]"),
    fault("stochastic depth is linear whatever its schedule", "tasks.classification.students.config:UnifiedTMConfig.drop_paths",
          edited('== "cosine"', '== "none"'), "students/test_tm_options.py::test_drop_path_schedules"),
    fault("blocks are never run again", "tasks.classification.students.transformer:UnifiedTMTransformer.forward",
          edited("self.config.grad_checkpoint and", "False and"),
          "students/test_tm_options.py::test_checkpointing_recomputes_blocks_and_keeps_gradients"),
    fault("RandAugment of the usual magnitude", "tasks.classification.data.augment:_transform",
          edited("magnitude=randaugment[1]", "magnitude=9"),
          "training/test_mixing.py::test_randaugment_changes_images_by_operations_and_magnitude"),
    fault("any kernel of attention will do", "tasks.classification.students.attention:Attention._mixed",
          edited("if self.fused:", "if False:"), "students/test_tm_options.py::test_fused_kernels_only"),
    fault("the student is its own average", "training.distillation:DistillJob.terms", edited("if average is None", "if True"),
          "signals/test_own_signals.py::test_the_average_tells_own_logits"),
    fault("contrast reads the larger part's label", "signals.contrastive:ContrastiveSignal.forward",
          edited("batch.targets", "batch.labels"), "signals/test_own_signals.py::test_contrast_reads_mixed_labels"),
    fault("pixels stay pixels", "tasks.classification.data.boolean_features:with_boolean_features",
          edited('config.mode == "raw"', "True"), "vision/test_boolean_features.py::test_boolean_features_replace_pixels"),
    fault("the class token is read whatever the pool", "tasks.classification.students.transformer:UnifiedTMTransformer.pooled",
          edited('if self.pool == "cls"', "if self.class_token is not None"), f"{FLAG}[--transformer-pool]"),
    fault("read-outs learn nothing", "signals.exits:ProbeSignal.regularizers",
          edited("(1.0, self._readout_loss)", "(1.0, self._readout_loss.detach())"),
          "signals/test_own_signals.py::test_probes_learn_and_the_student_feels_them_only_with_a_weight[0.5]"),
    fault("the test split is never scored in between", "tasks.classification.job:ClassificationJob.validate",
          edited("if self.config.report_test", "if False"),
          "training/test_mixing.py::test_test_accuracy_is_recorded_when_asked_and_never_chosen_by"),
    fault("a head has the classes of the data alone", "tasks.classification.data.images:assemble",
          edited('*(f"unused {number}" for number in range(len(names), room))', ""), f"{FLAG}[--num-classes]"),
    fault("a missing GPU is another device", "training.device:check_device", nothing,
          "vision/test_vision_runs.py::test_the_device_is_used_or_refused"),
    fault("every data set is digits", "tasks.classification.vision.config:VisionConfig.read",
          edited('data["name"] = DATASETS', 'data["name"] = "digits" or DATASETS'),
          f"{FLAG}[--dataset]"),
    fault("a teacher keeps its thousand classes", "teachers.networks:build_timm", edited("input_spec.num_classes,", "1000,"),
          "teachers/test_teachers.py::test_any_task_is_built_for_the_task[settings0]"),
    fault("a teacher is built at its own size", "teachers:TeacherConfig.build", edited("if self.data_size", "if False"),
          "vision/test_alignments.py::test_a_teacher_at_the_datas_size"),
    fault("a checkpoint is read and not loaded", "teachers.checkpoint:load_foreign", nothing,
          "teachers/test_teachers.py::test_a_foreign_state_dict_is_loaded_over_the_architecture"),
    fault("what a student adds to its loss is left out", "training.distillation:DistillJob.terms",
          edited("**regularizers(self.model)", ""), WHOLE),
    fault("tokens reach the clauses as numbers", "tasks.classification.students.core:DeepTM.forward", edited("hard_step(x)", "x"),
          "students/test_tm_transformer.py::test_tokens_reach_the_clauses_as_bits_and_clauses_differ_between_tokens"),
    fault("no point is written", "tasks.classification.vision.board:write_board",
          nothing,
          WHOLE),
    fault("a reloaded transformer has a start of its own", "tasks.classification.students.transformer:save_transformer",
          edited("model.state_dict()", "UnifiedTMTransformer(**model.model_kwargs).state_dict()"),
          "vision/test_vision_runs.py::test_the_checkpoint_reloads_as_documented"),
    *(fault(f"the documents' {name} is not laid out", "compat.documents:lay_out",
      edited("if path.is_file()", f"if {name!r} not in path.name and path.is_file()"),
      f"documents/test_documents.py::{test}") for name, test in LAID_OUT),
    fault("RMSNorm is LayerNorm", "layers.norms:make_norm", edited("nn.RMSNorm(width, eps=1e-6)", "nn.LayerNorm(width)"),
          f"{FLAG}[--transformer-norm]"),
    fault("depthwise mixing mixes nothing", "tasks.classification.students.feed_forward:TokenConv.forward",
          lambda original: lambda self, x: x,
          "students/test_tm_options.py::test_gradients_reach_every_parameter[ff_mix_type-ff_bitwise_mix-vit]"),
)

DOCUMENT_002 = (
    fault("percentages stand beside no network", "tasks.sar.compare:_related", edited('row["name"] in CLAIMS', "False"),
          "sar/test_sar_words.py::test_compare_prints_the_networks_that_the_recipes_build"),
    fault("a documented patience is read into nothing", "tasks.sar.documented:_translated",
          edited("elif key not in DROPPED:", 'elif key not in (*DROPPED, "training.patience"):'),
          "sar/test_sar_files.py::test_every_honoured_key_lands_somewhere"),
    fault("the standard student alone is compared", "tasks.sar.compare:compare_sizes",
          edited("for name in CLAIMS", 'for name in ("standard",)'),
          "sar/test_sar_commands.py::test_compare_without_runs_shows_the_documented_sizes"),
    fault("flags take no underscores", "cli.options:dashed",
          lambda original: lambda word: word,
          "sar/test_sar_commands.py::test_flags_take_dashes_and_underscores"),
    fault("alpha and beta leave the file's gamma", "compat.sar:_distill",
          edited('not {"alpha", "beta"}.isdisjoint(weights)', "False"),
          "sar/test_sar_commands.py::test_the_documented_tiny_command"),
    fault("gamma is dead weight", "tasks.sar.plan:SarObjective.weights",
          edited("rest if self.gamma is None else self.gamma", "0.0"), "sar/test_sar_job.py::test_the_total_is_the_documented_sum"),
    fault("an unfrozen teacher is frozen", "tasks.sar.teacher:LineTeacher.__post_init__", edited("not self.frozen", "False"),
          "sar/test_sar_job.py::test_an_unfrozen_teacher_learns_from_the_truth_alone"),
    fault("a plain MSE is normalized", "losses.complex:complex_mse", sister("complex_nmse"),
          "sar/test_sar_words.py::test_plain_mse_by_the_documents_word"),
    fault("the total is a plain sum", "tasks.sar.job:SarJob.terms", edited("weight * value.detach()", "value.detach()"),
          "sar/test_sar_job.py::test_documented_losses_are_recorded"),
    fault("a total norm is a sum of norms", "tasks.sar.job:norms_by_layer",
          edited("math.hypot(*found.values())", "sum(found.values())"),
          "sar/test_sar_monitor.py::test_gradient_norms_every_fifty_steps_by_layer"),
    fault("TensorBoard lies elsewhere", "tasks.sar.task:_monitor", edited("/ MONITOR /", '/ "monitor" /'),
          "sar/test_sar_commands.py::test_distill_says_whether_it_helped"),
    fault("the documented student is another", "tasks.sar.task:SarTask.on_run_end",
          edited("save_documented(out / saved.FINAL, model)", "save_documented(out / saved.FINAL, model.config.build())"),
          "sar/test_sar_commands.py::test_distill_says_whether_it_helped"),
    fault("best_model.pth is never written", "tasks.sar.saved:save_documented", nothing,
          "sar/test_sar_commands.py::test_train_leaves_the_documented_files"),
)

DOCUMENT_003 = (
    fault("reverse KL is forward KL", "losses.divergence:reverse_kl", sister("forward_kl"),
          "losses/test_divergence.py::test_directions_are_each_others_mirror"),
    fault("a temperature is clamped", "temperature.learned:_Learned.forward", edited("torch.sigmoid(raw)", "raw.clamp(0, 1)"),
          "temperature/test_learned_temperature.py::test_bounds_are_strict_and_keep_a_gradient[3.0]"),
    fault("the adversary has its full strength at once", "temperature.learned:_Learned.forward",
          edited("config.strength(progress)", "1.0"),
          "temperature/test_learned_temperature.py::test_the_ramp_is_the_published_one_and_is_logged"),
    fault("the temperature learns at the common rate", "temperature.learned:_Learned.groups", constant([]),
          "temperature/test_learned_temperature.py::test_the_optimizer_gets_a_group_without_decay[False]"),
    fault("a scheduled temperature is that of the start", "temperature.given:GivenTemperature.forward",
          edited("self.schedule(progress)", "self.schedule(type(progress)(0, progress.total_steps, 0, progress.stages))"),
          "temperature/test_learned_temperature.py::test_a_schedule_moves_the_temperature"),
    fault("stages never end by time", "curricula.transitions:TimeReached.ends", constant(False),
          "curricula/test_transitions.py::test_time_ends_stages_at_its_shares"),
    fault("every gate stays half open", "signals.hidden:LayerGates.forward",
          edited("torch.sigmoid(gate(", "0.5 + 0 * torch.sigmoid(gate("),
          "signals/test_hidden_signal.py::test_gates_turn_to_the_layer_that_is_matched[t.1-0.96-1.0]"),
    fault("scores of attention without their scale", "losses.attention:attention_scores", edited("/ math.sqrt(q.shape[3])", ""),
          "signals/test_attention_signal.py::test_scores_are_the_logarithms_of_what_timm_attends_to"),
    fault("weights of layers are no shares", "signals.hidden:HiddenSignal.__init__", edited("weight / sum(weights)", "weight"),
          "signals/test_hidden_signal.py::test_layer_weights_are_shares"),
    fault("spikes are read at the last step", "signals.bridges:Side.tokens", edited("x.mean(self.time)", "x.select(self.time, -1)"),
          "signals/test_bridges.py::test_spikes_are_read_as_rates[tbnd]"),
    fault("a stage starts anew", "core.pipeline:_through_stages", edited("job = task.job(stage_context)",
          "student.load_state_dict(task.student(arm, choice, seed, context).state_dict()); job = task.job(stage_context)"),
          "test_pipeline.py::test_a_stage_starts_from_the_weights_of_the_one_before"),
    fault("all samples weigh their teachers alike", "signals.teacher_weights:LearnedWeights.forward",
          edited("self.bias + h @", "self.bias + 0 * h @"),
          "signals/test_ensemble_signal.py::test_learned_weights_are_of_the_sample[learned]"),
    fault("the student does not listen to the answer", "signals.teacher_weights:DiverseWeights.distance",
          edited("mse(state(self.read, student_out)", "mse(state(self.read, student_out).detach()"),
          "signals/test_ensemble_signal.py::test_the_students_feature_is_drawn_to_the_answer"),
    fault("an independent view is the student's", "tasks.classification.job:ClassificationJob.teacher_batch",
          edited("draw=1", "draw=0"), "training/test_views.py::test_an_independent_view_is_another_draw"),
    fault("scores of a cache at temperature 1", "losses.top_k:scores_kl",
          edited("scores.log_probabilities(temperature)", "scores.log_probabilities(1.0)"),
          "training/test_language_job.py::test_a_learned_temperature_is_applied_to_a_cache_later[True]"),
)

DOCUMENT_004 = (
    fault("the documented loss reaches no student", "tasks.embed.documented.losses:distill_loss",
          edited("_flat(student_vec,", "_flat(student_vec.detach(),"),
          "embedding/test_documented_losses.py::test_only_the_student_learns"),
    fault("a curriculum read from JSON is a list", "tasks.embed.documented:DistillationConfig.__post_init__",
          edited("tuple(self.curriculum_tau_schedule)", "self.curriculum_tau_schedule"),
          "embedding/test_documented_losses.py::test_configuration_survives_json"),
    fault("a preset is no recipe", "tasks.embed.documented:documented", edited("if whole.curriculum or", "if False and"),
          "embed/test_embed_task.py::test_a_preset_is_a_recipe"),
    fault("weights of a teacher are left in the file", "tasks.embed.documented.losses:load_teacher_checkpoint",
          edited("tensor.to(where), found)", 'tensor.to(where), {**found, "model_state": None})'),
          "embedding/test_teacher_checkpoint.py::test_all_three_parts_are_read"),
    fault("every curriculum is linear", "tasks.embed.documented:create_curriculum_schedule",
          edited('schedule_type == "cosine"', "False"),
          "embedding/test_documented_losses.py::test_schedules_fall_and_stay_in_bounds[cosine]"),
    fault("a step has the temperature of the first stage", "tasks.embed.documented.losses:curriculum_distill_step",
          edited("tau_schedule(stage)", "tau_schedule(0)"),
          "embedding/test_documented_losses.py::test_a_step_says_its_temperature"),
    fault("stages have one temperature", "tasks.embed.documented:DistillationConfig.get_tau_for_stage",
          edited("(stage)", "(0)"), "embedding/test_quickstart.py::test_curriculum_configuration_prints_the_documented_table"),
    fault("alpha mixes nothing", "tasks.embed.documented.losses:combined_distill_loss",
          edited("(1 - alpha) * rebuilt", "0 * rebuilt"), "embedding/test_documented_losses.py::test_alpha_mixes"),
    fault("a softened KL without tau squared", "tasks.embed.documented.losses:kl_distill_loss",
          edited("temperature=tau)", "temperature=tau) / tau**2"),
          "embedding/test_documented_losses.py::test_kl_is_the_mean_over_rows"),
    fault("the documented training learns nothing", "tasks.embed.documented.losses:curriculum_distill_step",
          edited("return combined_distill_loss(student_vec,",
          "return 0 * student_vec.sum() + combined_distill_loss(student_vec.detach(),"),
          "embedding/test_quickstart.py::test_training_lowers_the_loss_of_every_stage"),
    fault("any word turns the curriculum on", "compat.embed:_curriculum",
          edited('"--no-curriculum"', '"--curriculum"'),
          "embed/test_embed_task.py::test_curriculum_false_is_off"),
    fault("a pass leaves the last batch out", "tasks.embed.config:EmbeddingLossConfig.steps",
          edited("-(-rows // batch)", "rows // batch"), "embed/test_embed_task.py::test_an_epoch_is_a_pass[65-3]"),
    fault("levels weigh alike", "tasks.embed.job:EmbeddingJob.__init__", edited("0.5**number", "1.0"),
          "training/test_embedding_job.py::test_levels_are_weighed_prefix_by_prefix"),
)

FAULTS: tuple[Fault, ...] = (
    *LEARNED_ALONG, *ASKED_OF_A_TRAINING, *NOT_CAUGHT, *DOCUMENTS_000_AND_001, *DOCUMENT_002, *DOCUMENT_003, *DOCUMENT_004,
)
