"""Faults that tests must catch: functions replaced by broken ones, in groups by package. `plant.py` says what a fault is.

`python -m benchmarks.house.faults` plants each and shows the test which fails. Those are here too that were once found with every
test still green: overlays of zeros, heads weighed on the test split, an arm seeded otherwise, delta ignored, norms of weights
times 0.
"""

from __future__ import annotations

import contextlib

import faults_proofs
import yaml
from faults_data import FAULTS as DATA
from faults_rules import EXPLAINED
from faults_tasks import TASKS
from faults_verdict import VERDICTS
from plant import Fault, constant, edited, nothing, times

SAMPLES = (
    Fault(
        "a page's samples show the teacher's neighbours on both sides",
        "stillhouse.families.embed.score:neighbour_samples",
        edited(
            'nearest_neighbors(codes, NEAREST, metric="euclidean")',
            "nearest_neighbors(vectors, NEAREST, metric=metric)",
        ),
        "tests/embed/test_samples.py::test_neighbours_are_the_nearest_on_their_own_side",
    ),
)

OWN_TEACHER = (
    Fault(
        "the teacher's classes are not re-ordered",
        "stillhouse.teachers.classes:order_of",
        edited("return [names.index", "return list(range(len(ours))) or [names.index"),
        "tests/teachers/test_own_teacher.py::test_scores_come_in_the_order_of_the_datas_classes",
    ),
    Fault(
        "a permutation of classes is not seen",
        "stillhouse.teachers.classes:permutation",
        constant(None),
        "tests/teachers/test_own_teacher.py::test_check_names_a_permutation",
    ),
    Fault(
        "mean and deviation of an own teacher are ignored",
        "stillhouse.teachers.build:_seen",
        edited("return replace(wants, mean=config.mean or wants.mean, std=config.std or wants.std)", "return wants"),
        "tests/teachers/test_own_teacher.py::test_pixels_are_normalized_as_the_file_says",
    ),
    Fault(
        "a poor teacher is above every plain score",
        "stillhouse.classification.teachers:plain_score",
        constant(0.0),
        "tests/teachers/test_own_teacher.py::test_check_tells_a_poor_teacher_from_a_good_one",
    ),
    Fault(
        "the teacher of a text is read as one for classes",
        "stillhouse.families.lm.family:LanguageFamily.owns_teacher",
        constant(False),
        "tests/test_config.py::test_a_teachers_file_finds_its_family",
    ),
)

LOOKS = (
    Fault(
        "chance is called an improvement",
        "stillhouse.core.epochs:hints",
        edited("max(least, _largest_fall(scores[count // 2 :]))", "least"),
        "tests/test_epochs.py::test_a_student_that_still_improves_is_said_to",
    ),
    Fault(
        "nothing is said of too few epochs",
        "stillhouse.core.epochs:hints",
        constant([]),
        "tests/test_epochs.py::test_both_epochs_and_what_to_do_are_named",
    ),
    Fault(
        "each comparison without a verdict has a line of its own",
        "stillhouse.report.verdicts:sentences",
        edited("len(alike) < 2", "True"),
        "tests/report/test_report_page.py::test_what_was_not_asked_is_one_sentence_a_reason",
    ),
)

COMPARING = (
    Fault(
        "a time is the mean of the calls",
        "stillhouse.metrics.cost:fastest_ms",
        edited("min(waits)", "sum(waits) / len(waits)"),
        "tests/metrics/test_metrics.py::test_another_program_does_not_move_a_time",
    ),
    Fault(
        "a comparison measures again what the run's report shows",
        "stillhouse.core.summary:stored_time",
        edited('float(cost["ms_batch_1"]) if same', "None if same"),
        "tests/test_run.py::test_a_comparison_shows_the_time_of_the_report",
    ),
)

TELLING = (
    Fault(
        "rules are ranked by what they add, wherever they fire",
        "stillhouse.families.classification.students.rule_cuts:by_discrimination",
        lambda original: lambda ranks, *rest: list(ranks),
        "tests/students/test_tm_rules.py::test_a_clause_that_fires_on_every_class_is_no_rule_of_one",
    ),
)

DOCUMENTED_WORDS = (
    Fault(
        "no student is kept after a stage of temperatures",
        "stillhouse.families.embed.family:EmbedFamily._keep_stage",
        nothing,
        "tests/embed/test_embed_family.py::test_each_temperature_leaves_a_student",
    ),
    Fault(
        "micro-batches draw the same noise",
        "stillhouse.families.embed.job:EmbeddingJob._generator",
        edited("part * PART", "0"),
        "tests/training/test_embedding_job.py::test_a_step_in_micro_batches_is_the_mean_of_its_parts",
    ),
    Fault(
        "no clause has a target",
        "stillhouse.signals.clause_targets:ClauseTargetSignal.targets",
        edited("> 0).to", "> 1e9).to"),
        "tests/signals/test_clause_targets.py::test_by_hand_with_the_class_tokens_attention",
    ),
    Fault(
        "clauses are taught where the teacher does not look",
        "stillhouse.signals.clause_targets:ClauseTargetSignal._attention",
        edited("looked = activation_energy(", "looked = 1 + 0 * activation_energy("),
        "tests/signals/test_clause_targets.py::test_where_the_teacher_does_not_look_nothing_is_taught",
    ),
    Fault(
        "every head's read-out is of the first head",
        "stillhouse.signals.probes:ProbeSignal._pooled",
        edited(".chunk(self.parts[path], dim=1)", ".chunk(self.parts[path], dim=1)[:1] * self.parts[path]"),
        "tests/vision/test_alignments.py::test_a_heads_readout_learns_what_that_head_knows",
    ),
    Fault(
        "signals beside the scores are left out",
        "stillhouse.families.classification.vision.config:VisionConfig.run_config",
        edited("(kl, *self.signals)", "(kl,)"),
        "tests/vision/test_alignments.py::test_alignments_and_several_teachers_in_one_run",
    ),
    Fault(
        "what a model does not read is not named",
        "stillhouse.families.classification.vision.unused:unread",
        constant(()),
        "tests/vision/test_alignments.py::test_a_flag_that_a_model_does_not_read_is_named",
    ),
    Fault(
        "the simulated level rc has no migration in it",
        "stillhouse.families.sar.simulate:_levels",
        edited("rc = migration_corrected(radar, rcmc.astype(np.complex128), backwards=True)", "rc = rcmc + 0j"),
        "tests/sar/test_sar_words.py::test_every_level_is_the_one_below_it_processed",
    ),
    Fault(
        "weights of 8 bits are written with 32",
        "stillhouse.families.sar.saved:save_changed",
        edited("name: found.values", "name: found.values.float()"),
        "tests/sar/test_sar_words.py::test_eight_bits_lie_on_the_disk",
    ),
    Fault(
        "gamma counts although features are not matched",
        "stillhouse.families.sar.objective:SarObjective.weights",
        edited("if not self.feature_matching:", "if False:"),
        "tests/sar/test_sar_words.py::test_feature_matching_off_beside_gamma_as_documented",
    ),
    Fault(
        "online is offline",
        "stillhouse.families.sar.monitor:mode_of",
        constant("offline"),
        "tests/sar/test_sar_words.py::test_weights_and_biases_goes_online_when_asked",
    ),
    Fault(
        "the anchor in degrees is that of logarithms",
        "stillhouse.temperature.learned:_Learned.regularizers",
        edited('self.config.anchor_scale == "linear"', "False"),
        "tests/temperature/test_learned_temperature.py::test_the_anchor_in_degrees_as_document_003_writes_it",
    ),
    Fault(
        "memory that is freed is still counted",
        "stillhouse.metrics.memory:_Held._freed",
        nothing,
        "tests/metrics/test_forward_memory.py::test_a_chain_frees_what_it_has_read",
    ),
)

ATTACHED = (
    Fault(
        "an attached signal hears the student detached",
        "stillhouse.training.attach:_rows",
        edited("teacher.shape != student.shape", "(student := student.detach()).shape != teacher.shape"),
        "tests/examples/test_own_loops.py::test_the_term_is_that_of_torch",
    ),
    Fault(
        "pixels without a label count",
        "stillhouse.training.attach:_rows",
        edited("labels != ignored", "labels == labels"),
        "tests/examples/test_own_loops.py::test_maps_of_scores_count_the_labelled_pixels_alone",
    ),
    Fault(
        "an attached signal hears an old step",
        "stillhouse.training.attach:_Ear.take",
        edited("self.scores, self.heard = None, False", "pass"),
        "tests/examples/test_own_loops.py::test_what_does_not_fit_is_refused",
    ),
)

WATCHING = (
    Fault(
        "epochs have no line off a terminal",
        "stillhouse.cli.show:RunDisplay._epoch",
        nothing,
        "tests/cli/test_watching.py::test_time_to_go_counts_what_this_process_did",
    ),
    Fault(
        "two seeds are shown as an interval",
        "stillhouse.report.verdicts:_each_seed",
        constant([]),
        "tests/cli/test_watching.py::test_more_bits_are_a_cost",
    ),
    Fault(
        "the untaught student is at 0",
        "stillhouse.cli.check:untaught",
        constant(("the student without a teacher", 0.0)),
        "tests/cli/test_watching.py::test_a_teacher_is_held_against_the_untaught_student",
    ),
)

LOSSES = (
    Fault(
        "forward KL times 0",
        "stillhouse.losses.divergence:forward_kl",
        times(0),
        "tests/losses/test_divergence.py::test_values_equal_scipys[1.0]",
    ),
    Fault(
        "reverse KL without T squared",
        "stillhouse.losses.divergence:reverse_kl",
        edited("* scale", "* 1"),
        "tests/losses/test_divergence.py::test_values_equal_scipys[4.0]",
    ),
    Fault(
        "symmetric KL all forward",
        "stillhouse.losses.divergence:symmetric_kl",
        edited("(mix, reverse_kl)", "(mix, forward_kl)"),
        "tests/losses/test_divergence.py::test_values_equal_scipys[1.0]",
    ),
    Fault(
        "Jensen-Shannon forgets beta",
        "stillhouse.losses.divergence:generalized_js",
        edited("log_mixture(log_p, log_q, beta)", "log_mixture(log_p, log_q, 0.5)"),
        "tests/losses/test_divergence.py::test_js_limits_and_bounds",
    ),
    Fault(
        "softened teacher gets a gradient",
        "stillhouse.losses.softened:softened",
        edited("teacher_logits.detach()", "teacher_logits"),
        "tests/losses/test_divergence.py::test_the_teacher_gets_no_gradient[forward_kl]",
    ),
    Fault(
        "one temperature for all samples",
        "stillhouse.losses.softened:softened",
        edited("temperature.unsqueeze(1)", "temperature.mean()"),
        "tests/losses/test_divergence.py::test_a_temperature_for_each_sample[forward_kl]",
    ),
    Fault(
        "centred mean square not centred",
        "stillhouse.losses.regression:mse_logits",
        edited("if centered:", "if False:"),
        "tests/losses/test_regression.py::test_only_the_centred_form_ignores_a_constant_added_to_a_row",
    ),
    Fault(
        "smooth L1 is squares",
        "stillhouse.losses.regression:smooth_l1",
        edited("gap < 1", "gap < 1e9"),
        "tests/losses/test_regression.py::test_feature_distances_equal_torchs",
    ),
    Fault(
        "a direction with its length",
        "stillhouse.losses.regression:_direction",
        edited(".sqrt() * ~dead", " * ~dead"),
        "tests/losses/test_regression.py::test_feature_distances_give_one_number_a_sample[cosine_distance]",
    ),
    Fault(
        "relations within a class over classes",
        "stillhouse.losses.correlation:dist_intra",
        edited(".t()", ""),
        "tests/losses/test_correlation.py::test_inter_is_over_classes_and_intra_over_samples[1.0]",
    ),
    Fault(
        "debiased CKA is the biased one",
        "stillhouse.losses.cka:_product",
        edited("if not debiased:", "if True:"),
        "tests/losses/test_cka.py::test_both_forms_equal_the_definition[0.0-True-gram]",
    ),
    Fault(
        "distances between samples times 0",
        "stillhouse.losses.relations:rkd_distance",
        times(0),
        "tests/losses/test_relations.py::test_only_relations_count[rkd-distance]",
    ),
    Fault(
        "angles at the wrong corner",
        "stillhouse.losses.relations:_angles",
        edited("gram[i, k] - gram[i, j] - gram[j, k] + own[j]", "gram[i, k] - gram[i, j] - gram[i, j] + own[i]"),
        "tests/losses/test_relations.py::test_drawn_triples_estimate_all_of_them",
    ),
    Fault(
        "probabilities of neighbors reversed",
        "stillhouse.losses.relations:pkt",
        edited("log_p.exp() *", "log_q.exp() *"),
        "tests/losses/test_relations.py::test_pkt_equals_its_definition",
    ),
    Fault(
        "gram on the sphere is not",
        "stillhouse.losses.relations:gram_mse",
        edited("if sphere", "if False"),
        "tests/losses/test_relations.py::test_scale_does_not_count[1e-12-sphere]",
    ),
    Fault(
        "perplexity ignored",
        "stillhouse.losses.neighbours:row_log_probabilities",
        edited("math.log(perplexity)", "math.log(2.0)"),
        "tests/losses/test_neighbours.py::test_bandwidths_are_those_of_scikit_learn[10.0]",
    ),
    Fault(
        "attention without its mask",
        "stillhouse.losses.attention:_checked",
        edited("allowed & mask[:, None, None, :]", "allowed"),
        "tests/losses/test_attention.py::test_kl_equals_scipys_over_the_keys_that_are_there[False-mask1]",
    ),
    Fault(
        "attention that sees ahead",
        "stillhouse.losses.attention:_checked",
        edited("if causal:", "if False:"),
        "tests/losses/test_attention.py::test_kl_equals_scipys_over_the_keys_that_are_there[True-None]",
    ),
    Fault(
        "the tail of the top k dropped",
        "stillhouse.losses.top_k:topk_kl",
        edited("if not tail:", "if True:"),
        "tests/losses/test_top_k.py::test_a_bucket_is_one_class_more[1]",
    ),
    Fault(
        "decoupled without the other classes",
        "stillhouse.losses.divergence:decoupled_kl",
        edited("nontarget_weight * kl", "0 * kl"),
        "tests/losses/test_decoupled.py::test_kl_is_target_part_plus_the_rest_times_1_minus_p[1.0]",
    ),
    Fault(
        "contrastive temperature ignored",
        "stillhouse.losses.contrastive:contrastive_distillation",
        edited(" / temperature", ""),
        "tests/losses/test_contrastive.py::test_closed_form_of_right_angles[2-0.1]",
    ),
    Fault(
        "a sample is its own positive",
        "stillhouse.losses.contrastive:supervised_contrastive",
        edited(".to(log_share.dtype).masked_fill(same, 0.0)", ".to(log_share.dtype)"),
        "tests/losses/test_contrastive.py::test_supervised_closed_form[0.1]",
    ),
    Fault(
        "coherence loss times 0",
        "stillhouse.losses.complex:coherence_loss",
        times(0),
        "tests/losses/test_complex_losses.py::test_nmse_and_coherence_are_those_of_the_metrics",
    ),
    Fault(
        "padding counts in the fused loss",
        "stillhouse.losses.chunked:_valid_rows",
        edited("if valid is None:", "if True:"),
        "tests/losses/test_chunked.py::test_tokens_that_do_not_count_reach_neither_value_nor_gradient[forward-kl-settings0]",
    ),
    Fault(
        "fused gradient of the other side",
        "stillhouse.losses.chunked:_forward",
        edited("log_q.exp_().sub_(p)", "p.sub_(log_q.exp_())"),
        "tests/losses/test_chunked.py::test_equals_the_dense_form_in_value_and_gradient[1.0-1-forward-kl-settings0]",
    ),
    Fault(
        "logits centred but not scaled",
        "stillhouse.losses.softened:standardize_logits",
        edited("standard = centered / torch.where(flat, 1.0, variance).sqrt()", "standard = centered"),
        "tests/losses/test_divergence.py::test_standardized_logits_have_mean_0_and_deviation_1_at_any_scale[0.001]",
    ),
)

TEMPERATURE = (
    Fault(
        "gradient reversal that does not reverse",
        "stillhouse.temperature.learned:reverse_gradient",
        edited("-_checked(strength)", "_checked(strength)"),
        "tests/temperature/test_learned_temperature.py::test_the_reversal_is_identity_forward_and_minus_strength_backward[0.25]",
    ),
    Fault(
        "strength of the reversal ignored",
        "stillhouse.temperature.learned:_scaled",
        edited("factor)", "1.0 if factor > 0 else -1.0)"),
        "tests/temperature/test_learned_temperature.py::test_the_reversal_is_identity_forward_and_minus_strength_backward[0.0]",
    ),
    Fault(
        "entropy target ignored",
        "stillhouse.temperature.entropy:temperature_of_entropy",
        edited(">= target", ">= 0.5"),
        "tests/temperature/test_entropy_temperature.py::test_softened_teachers_have_the_target_entropy[2.0-0.2]",
    ),
    Fault(
        "anchor of the temperature times 0",
        "stillhouse.temperature.learned:_Learned.regularizers",
        edited("square().mean()", "square().mean() * 0"),
        "tests/temperature/test_learned_temperature.py::test_the_anchor_attracts[True-True-8.0--1]",
    ),
    Fault(
        "learned temperature outside its bounds",
        "stillhouse.temperature.learned:_Learned.forward",
        edited("torch.sigmoid(raw)", "raw"),
        "tests/temperature/test_learned_temperature.py::test_a_class_that_the_teacher_rules_out_leaves_the_temperature_a_number[False]",
    ),
    Fault(
        "linear schedule stands still",
        "stillhouse.core.schedules:_between",
        edited("* x", "* 0"),
        "tests/test_schedules.py::test_five_stages_from_4_to_a_half[Linear]",
    ),
    Fault(
        "schedule without an early end",
        "stillhouse.core.schedules:_position",
        edited("/ until", ""),
        "tests/test_schedules.py::test_values_are_clamped_past_the_end[Linear]",
    ),
)

CURRICULA = (
    Fault(
        "curriculum in reverse",
        "stillhouse.curricula.baby_steps:rows_in_order",
        edited('order == "easy-first"', 'order != "easy-first"'),
        "tests/curricula/test_curriculum.py::test_easy_rows_come_first_and_hard_ones_in_the_anti_curriculum",
    ),
    Fault(
        "classes not balanced",
        "stillhouse.curricula.baby_steps:balanced_over_classes",
        lambda original: lambda order, labels: order,
        "tests/curricula/test_curriculum.py::test_the_first_stage_has_every_class[easy-first]",
    ),
    Fault(
        "no row of later stages is replayed",
        "stillhouse.curricula.baby_steps:draw",
        edited("max(1, round(replay * total))", "0"),
        "tests/curricula/test_baby_steps.py::test_an_epoch_has_exactly_n_rows_and_the_floor_of_others[0.05-1]",
    ),
    Fault(
        "loss ranked upside down",
        "stillhouse.curricula.difficulty:ranks",
        edited('easy == "low"', 'easy == "high"'),
        "tests/curricula/test_difficulty.py::test_ranks_start_at_the_easy_end_and_ties_share",
    ),
    Fault(
        "margin against itself",
        "stillhouse.curricula.difficulty:margin_of_samples",
        edited("others[rows, y] = -np.inf", "pass"),
        "tests/curricula/test_difficulty.py::test_loss_and_margin_are_torchs",
    ),
    Fault(
        "plateau never ends",
        "stillhouse.curricula.transitions:PlateauReached.ends",
        edited("self.waited >= config.patience", "False"),
        "tests/curricula/test_transitions.py::test_a_constant_loss_is",
    ),
    Fault(
        "a stage keeps the best of the one before",
        "stillhouse.curricula.transitions:ValidationStopped.begin",
        edited("self.best: float | None = None", 'self.best = getattr(self, "best", None)'),
        "tests/curricula/test_transitions.py::test_the_best_is_forgotten_with_the_stage",
    ),
    Fault(
        "weights of a stage ignored",
        "stillhouse.curricula.curriculum:Curriculum.weights",
        constant({"labels": 1.0, "signals": 1.0}),
        "tests/curricula/test_curriculum.py::test_weights_and_temperature_follow_the_stages_as_released",
    ),
    Fault(
        "a resumed stage draws anew",
        "stillhouse.curricula.curriculum:Curriculum.load_state_dict",
        edited('self.stage, self._began = int(state["stage"]), int(state["began"])', "pass"),
        "tests/curricula/test_curriculum.py::test_a_resume_is_exact_in_the_middle_of_a_stage[4-transition1]",
    ),
)

LAYERS = (
    Fault(
        "slope of the step ignored",
        "stillhouse.layers.straight_through:_Step.backward",
        edited(".mul_(slope)", ""),
        "tests/layers/test_straight_through.py::test_step_has_the_gradient_of_the_sigmoid[0.5]",
    ),
    Fault(
        "threshold of inclusion ignored",
        "stillhouse.layers.straight_through:_Include.forward",
        edited("torch.logit(tau)", "0"),
        "tests/layers/test_straight_through.py::test_include_masks_are_hard_and_logits_learn",
    ),
    Fault(
        "dead clauses stay dead",
        "stillhouse.layers.straight_through:_LeakyBackwardReLU.backward",
        edited("* ctx.leak", "* 0"),
        "tests/layers/test_straight_through.py::test_a_silent_unit_still_gets_a_gradient",
    ),
    Fault(
        "a norm of zeros",
        "stillhouse.layers.norms:ScaleNorm.forward",
        times(0),
        "tests/layers/test_windows.py::test_norms_by_name",
    ),
    Fault(
        "ternary weights without scale",
        "stillhouse.layers.ternary:ternary_codes",
        edited("return (weight / scale)", "return weight"),
        "tests/layers/test_spikes.py::test_ternary_codes_follow_the_mean",
    ),
    Fault(
        "windows never shifted",
        "stillhouse.layers.windows:Windows.split",
        edited("if any(self.shift):", "if False:"),
        "tests/layers/test_windows.py::test_split_and_join_are_inverse[8-8-4-True]",
    ),
    Fault(
        "shifted windows see across the edge",
        "stillhouse.layers.windows:Windows._mask",
        constant(None),
        "tests/layers/test_windows.py::test_mask_against_a_loop[8-8-4-True]",
    ),
    Fault(
        "a tap keeps an older tensor",
        "stillhouse.layers.taps:Tapped._keep",
        edited("self._seen[name] = tensor", "self._seen[name] = self.__dict__.setdefault('first', tensor)"),
        "tests/teachers/test_ensemble.py::test_features_carry_the_members_number",
    ),
    Fault(
        "delta rule removes nothing",
        "stillhouse.layers.recurrent.delta:delta_chunked",
        edited("-c_down @ b_up.mT", "torch.zeros_like(c_down @ b_up.mT)"),
        "tests/layers/test_recurrent.py::test_chunks_equal_the_definition[7-16]",
    ),
    Fault(
        "decay ignored by the memory of chunks",
        "stillhouse.layers.recurrent.delta:delta_chunked",
        edited("log_w.cumsum(-2)", "log_w.cumsum(-2) * 0"),
        "tests/layers/test_recurrent.py::test_chunks_equal_the_definition[1-16]",
    ),
    Fault(
        "scalar state not carried",
        "stillhouse.layers.recurrent.scalar:scalar_chunked",
        edited("fade * state.unsqueeze(1)", "0 * state.unsqueeze(1)"),
        "tests/layers/test_recurrent.py::test_chunks_equal_the_definition[1-16]",
    ),
    Fault(
        "look-ahead ignored",
        "stillhouse.layers.state_space.kernel:convolve",
        edited("if ahead:", "if False:"),
        "tests/layers/test_state_space_kernel.py::test_the_convolution_is_a_toeplitz_product[1]",
    ),
    Fault(
        "the later kernel ignored",
        "stillhouse.layers.state_space.kernel:convolve",
        edited("if earlier is not None:", "if False:"),
        "tests/layers/test_state_space_kernel.py::test_the_convolution_is_a_toeplitz_product[None]",
    ),
    Fault(
        "conjugate half dropped",
        "stillhouse.layers.state_space.s4d:S4D._with_twins",
        edited("if not self.real_kernel:", "if True:"),
        "tests/layers/test_state_space_kernel.py::test_a_real_kernel_is_twice_the_real_part",
    ),
    Fault(
        "gate reads no phase",
        "stillhouse.layers.state_space.gate:PhaseGate.forward",
        edited("turn.real, turn.imag", "turn.abs(), turn.abs()"),
        "tests/layers/test_state_space_layers.py::test_the_gate_reads_magnitude_and_relative_phase_only",
    ),
    Fault(
        "deramp never undone",
        "stillhouse.layers.state_space.deramp:Deramp.leave",
        lambda original: lambda self, y, places: y,
        "tests/layers/test_state_space_layers.py::test_deramping_is_a_phasor_and_its_inverse",
    ),
    Fault(
        "spikes without their sign",
        "stillhouse.layers.spikes.unit:_counts",
        edited(".copysign_(ratio)", ""),
        "tests/layers/test_spikes.py::test_values_and_gradients_of_a_ternary_unit[-1.5-expected2]",
    ),
    Fault(
        "no penalty for density",
        "stillhouse.layers.spikes.unit:SpikeUnit.penalty",
        times(0),
        "tests/layers/test_spikes.py::test_the_regularizer_moves_the_density_to_its_target[0.02]",
    ),
    Fault(
        "share of spikes ignored",
        "stillhouse.layers.spikes.unit:SpikeUnit.forward",
        edited("isinstance(share, float) and share == 1", "True"),
        "tests/layers/test_spikes.py::test_the_ramp_goes_from_dense_to_spikes",
    ),
)

TRAINING = (
    Fault(
        "random numbers not restored",
        "stillhouse.training.state:TrainingState._restore",
        edited("restore_rng(state)", "pass"),
        "tests/training/test_stops.py::test_a_stop_after_any_step_equals_no_stop[three-epochs]",
    ),
    Fault(
        "loss of a term not weighted",
        "stillhouse.training.loop:_Trainer._step",
        edited("weight * value for", "value for"),
        "tests/training/test_loop.py::test_the_teachers_term_is_logged_and_weighted",
    ),
    Fault(
        "micro-batches weighed alike",
        "stillhouse.training.loop:_Trainer._step",
        edited("share = len(part) / len(rows)", "share = 1.0"),
        "tests/training/test_loop.py::test_micro_batches_change_nothing",
    ),
    Fault(
        "last epoch kept, not the best",
        "stillhouse.training.loop:_Trainer._validate",
        edited('self.config.keep == "last"', "True"),
        "tests/training/test_loop.py::test_early_stopping_stops_and_keeps_the_best",
    ),
    Fault(
        "never stopped early",
        "stillhouse.training.loop:_Trainer._validate",
        edited("0 < self.config.patience <= waited", "False"),
        "tests/training/test_loop.py::test_early_stopping_stops_and_keeps_the_best",
    ),
    Fault(
        "clipping ignored",
        "stillhouse.training.loop:_Trainer._clip",
        edited("self.config.clip_norm > 0", "False"),
        "tests/training/test_loop.py::test_every_knob_changes_the_run[change5]",
    ),
    Fault(
        "NaN trained on",
        "stillhouse.training.loop:_Trainer._clip",
        edited("not torch.isfinite(norm)", "False"),
        "tests/training/test_loop.py::test_a_gradient_of_nan_is_an_error_where_every_loss_is_finite",
    ),
    Fault(
        "checkpoints not checked",
        "stillhouse.training.checkpoint:_last_line",
        constant(b""),
        "tests/training/test_stops.py::test_a_flipped_bit_anywhere_is_an_error",
    ),
    Fault(
        "norms decay as weights do",
        "stillhouse.layers.part:matrices_decay",
        edited("0.0}", "weight_decay}"),
        "tests/training/test_optimizer_options.py::test_matrices_decay_and_vectors_do_not",
    ),
    Fault(
        "layers at one rate",
        "stillhouse.training.optimizer:by_layer",
        edited("* decay ** (top - number)", ""),
        "tests/training/test_optimizer_options.py::test_layer_rates_keep_their_ratio_at_every_step",
    ),
    Fault(
        "gradients not centralized",
        "stillhouse.training.optimizer:_centralize",
        nothing,
        "tests/training/test_optimizer_options.py::test_centralized_gradients_have_mean_zero_and_include_logits_are_left_alone",
    ),
    Fault(
        "muon at the rate of the others",
        "stillhouse.training.muon:with_matrices_apart",
        edited("STRIDE *", "1 *"),
        "tests/training/test_muon.py::test_matrices_in_blocks_move_along_orthogonal_directions_and_the_rest_as_under_adamw",
    ),
    Fault(
        "DOT without delta",
        "stillhouse.training.dot:DOT._move",
        edited("momentum + delta", "momentum"),
        "tests/training/test_dot.py::test_the_gain_in_the_long_run",
    ),
    Fault(
        "projection of gradients left out",
        "stillhouse.training.gradients:pcgrad",
        edited("against < 0 and", "False and"),
        "tests/training/test_gradients.py::test_opposite_gradients_cancel",
    ),
    Fault(
        "a gate that lets all through",
        "stillhouse.training.gradients:gated",
        constant({}),
        "tests/training/test_gradients.py::test_the_gate_drops_what_works_against_the_task",
    ),
    Fault(
        "the doctor sees no conflict",
        "stillhouse.training.doctor:SignalDoctor._about_terms",
        edited("reading.cosine < config.conflicting", "False"),
        "tests/training/test_doctor.py::test_sizes_and_directions_have_their_words[-0.9-conflicting]",
    ),
    Fault(
        "balance without a limit",
        "stillhouse.training.doctor:SignalDoctor.balanced_weights",
        edited("weight * limit", "1e9"),
        "tests/training/test_doctor.py::test_balanced_weights_stay_in_bounds_and_off_by_default",
    ),
    Fault(
        "signals not weighed",
        "stillhouse.training.distillation:DistillJob.compared",
        edited("signal.weight * share", "share"),
        "tests/training/test_loop.py::test_the_teachers_term_is_logged_and_weighted",
    ),
    Fault(
        "curriculum weights do not reach the loss",
        "stillhouse.training.distillation:DistillJob.terms",
        edited("curriculum.weights()", '{"labels": 1.0, "signals": 1.0}'),
        "tests/test_pipeline.py::test_weights_of_a_curriculum_reach_the_loss",
    ),
    Fault(
        "the average stands still",
        "stillhouse.training.distillation:DistillJob.stepped",
        nothing,
        "tests/test_pipeline.py::test_the_students_average_teaches_it",
    ),
    Fault(
        "inherits the last layers",
        "stillhouse.training.inherit:layer_skipping_map",
        edited("j * n // m", "j"),
        "tests/students/test_inherit.py::test_layers_are_taken_at_equal_distances[12-6-every-nth-expected0]",
    ),
    Fault(
        "inherits nothing",
        "stillhouse.training.inherit:inherit_layers",
        edited("ours[name].copy_(tensor)", "pass"),
        "tests/students/test_inherit.py::test_inherited_layers_put_out_what_the_teachers_do",
    ),
)

CORE = (
    Fault(
        "verdict from the mean alone",
        "stillhouse.core.verdict:compare",
        edited("found.low > 0", "found.mean > 0"),
        "tests/test_verdict.py::test_equal_arms_are_told_apart_in_at_most_a_few_percent",
    ),
    Fault(
        "spread of seeds left out",
        "stillhouse.core.verdict:mean_interval",
        edited("ms_seed + ms_item - ms_rest, ms_seed, ms_item, ms_rest", "ms_item, ms_rest"),
        "tests/test_verdict.py::test_three_seeds_cover_the_truth_about_95_percent[0.1-0.2-0.1]",
    ),
    Fault(
        "one seed is enough",
        "stillhouse.core.verdict:compare",
        edited("if items_alone and seeds == 1", "if seeds == 1"),
        "tests/test_verdict.py::test_every_verdict_word_is_reached",
    ),
    Fault(
        "records of undone steps kept",
        "stillhouse.core.records:keep_records_until",
        edited("done < step or", "True or"),
        "tests/test_records.py::test_records_after_a_step_are_dropped_and_torn_lines_ignored",
    ),
    Fault(
        "a write that fails half-way",
        "stillhouse.core.records:write_atomically",
        edited("os.replace(handle.name, path)", "path.write_bytes(Path(handle.name).read_bytes()[:10])"),
        "tests/test_records.py::test_a_failed_write_leaves_the_old_file_and_no_litter",
    ),
    Fault(
        "a run shrinks on resume",
        "stillhouse.core.resume:_grew",
        constant(True),
        "tests/test_records.py::test_a_run_grows_and_does_not_shrink",
    ),
    Fault(
        "infinity written as it is",
        "stillhouse.core.records:as_json",
        edited("value if math.isfinite(value) else None", "value"),
        "tests/test_records.py::test_nan_is_written_as_null",
    ),
    Fault(
        "one seed's interval is the whole scale",
        "stillhouse.core.summary:_estimate",
        edited("float(np.clip(end, least, most))", "min(most, max(least, float(end)))"),
        "tests/test_summary.py::test_one_seed_has_no_interval_over_seeds",
    ),
    Fault(
        "broken YAML in several lines",
        "stillhouse.core.yaml_text:yaml_fault",
        lambda original: str,
        "tests/cli/test_small_faults.py::test_broken_yaml_is_one_line_with_its_place",
    ),
    Fault(
        "any teacher is a bound",
        "stillhouse.families.lm.blocks:_bound",
        constant("The teacher is the best of all."),
        "tests/lm/test_lm_run.py::test_a_teacher_bounds_only_what_it_is_better_than",
    ),
    Fault(
        "names with a slash",
        "stillhouse.core.records:safe_name",
        lambda original: lambda name: name,
        "tests/test_records.py::test_names_of_runs_that_lead_elsewhere_are_refused[../x]",
    ),
    Fault(
        "two write one folder",
        "stillhouse.core.lock:RunLock._take",
        edited("self._lock.acquire()", "pass"),
        "tests/test_lock.py::test_a_half_written_holder_is_another_process",
    ),
    Fault(
        "a changed file is not seen",
        "stillhouse.core.hashes:sha256_of",
        constant("0" * 64),
        "tests/test_hashes.py::test_the_hash_is_that_of_the_file",
    ),
    Fault(
        "a changed card is not seen",
        "stillhouse.core.hashes:hash_of",
        constant("0" * 64),
        "tests/test_hashes.py::test_a_flipped_bit_in_a_card_is_an_error_or_nothing",
    ),
    Fault(
        "a key given twice",
        "stillhouse.core.yaml_text:_OnceLoader.construct_mapping",
        lambda original: yaml.SafeLoader.construct_mapping,
        "tests/test_config.py::test_a_key_that_stands_twice_is_refused",
    ),
    Fault(
        "merging keeps settings of another kind",
        "stillhouse.core.config:merge",
        lambda original: lambda base, change: {**base, **change},
        "tests/test_config.py::test_merging_replaces_a_mapping_of_another_kind",
    ),
    Fault(
        "nothing is inherited from the teacher",
        "stillhouse.core.pipeline:_inherit",
        nothing,
        "tests/test_pipeline.py::test_a_student_starts_from_parts_of_its_teacher",
    ),
    Fault(
        "all parts learn in every stage",
        "stillhouse.core.pipeline:only",
        lambda original: lambda student, paths: contextlib.nullcontext(),
        "tests/test_pipeline.py::test_only_the_named_parts_learn_in_a_stage",
    ),
    Fault(
        "the first teacher teaches the student too",
        "stillhouse.core.pipeline:next_tutors",
        lambda original: lambda family, assistants, lab: lab.tutors,
        "tests/test_pipeline.py::test_the_assistant_teaches_the_student",
    ),
    Fault(
        "an untaught stage keeps its signals",
        "stillhouse.core.plan:RunPlan.untaught_stage",
        lambda original: lambda self, stage: stage,
        "tests/test_plan.py::test_an_untaught_arm_has_every_stage_and_no_signal_in_any",
    ),
)

TEACHERS = (
    Fault(
        "average of the student at once",
        "stillhouse.teachers.average:AverageTeacher.decay_at",
        constant(0.0),
        "tests/teachers/test_average_teacher.py::test_the_weights_are_the_average_with_its_ramp",
    ),
    Fault(
        "average without its warm-up",
        "stillhouse.teachers.average:AverageTeacher.decay_at",
        edited("min(self.decay, (1 + step) / (10 + step))", "self.decay"),
        "tests/teachers/test_average_teacher.py::test_the_weights_are_the_average_with_its_ramp",
    ),
    Fault(
        "an ensemble hears its first member",
        "stillhouse.teachers.ensemble:EnsembleTeacher._pooled",
        lambda original: lambda self, logits: logits[0],
        "tests/teachers/test_ensemble.py::test_logits_are_those_of_the_mean_probability",
    ),
    Fault(
        "a cache row shuffled",
        "stillhouse.teachers.cached:CachedTeacher.__call__",
        edited("batch.index.cpu()", "batch.index.cpu().flip(0)"),
        "tests/teachers/test_ensemble.py::test_cached_members_give_the_same",
    ),
    Fault(
        "a probe that fits nothing",
        "stillhouse.teachers.probe:fit_head",
        edited("head.weight.copy_(torch.as_tensor(weight))", "pass"),
        "tests/teachers/test_teachers.py::test_two_classes_are_fitted_too",
    ),
    Fault(
        "a teacher at chance is ready",
        "stillhouse.teachers.readiness:check_teacher",
        edited("low > chance", "True"),
        "tests/teachers/test_teachers.py::test_a_teacher_at_chance_is_found_out",
    ),
    Fault(
        "calibration error times 0",
        "stillhouse.teachers.readiness:check_teacher",
        edited('abs(b["accuracy"] - b["confidence"])', "0"),
        "tests/teachers/test_teachers.py::test_check_counts_as_scikit_learn_would",
    ),
    Fault(
        "teacher inputs not normalized",
        "stillhouse.teachers.teacher:Input.prepare",
        edited("(pixels - mean) / std", "pixels"),
        "tests/teachers/test_teachers.py::test_it_sees_pixels_normalized_as_it_was_trained",
    ),
    Fault(
        "teacher in training mode",
        "stillhouse.teachers.teacher:NetworkTeacher.__call__",
        edited(".eval()", ".train()"),
        "tests/teachers/test_teachers.py::test_a_step_of_the_student_leaves_every_bit_of_the_teacher",
    ),
)

CACHE = (
    Fault(
        "a stored row shuffled",
        "stillhouse.cache.files:Store.read",
        edited("at[some] - number * size", "(at[some] - number * size)[::-1]"),
        "tests/cache/test_cache_files.py::test_rows_come_back_in_any_order",
    ),
    Fault(
        "hash of a shard not compared",
        "stillhouse.cache.array_file:verify_file",
        nothing,
        "tests/cache/test_cache_files.py::test_a_flipped_bit_is_a_named_error[train-00003.logits.npy]",
    ),
    Fault(
        "hash of a manifest not compared",
        "stillhouse.cache.files:_digest",
        constant("x"),
        "tests/cache/test_cache_files.py::test_a_changed_manifest_is_a_named_error",
    ),
    Fault(
        "space of a shard not reserved",
        "stillhouse.cache.array_file:open_mapped",
        edited('hasattr(os, "posix_fallocate")', "False"),
        "tests/cache/test_cache_files.py::test_a_full_disk_is_an_error_before_a_row_is_asked_for",
    ),
    Fault(
        "a torn shard counts as finished",
        "stillhouse.cache.files:_finished",
        edited('== about["bytes"]', ">= 0"),
        "tests/cache/test_cache_files.py::test_a_killed_cache_is_continued",
    ),
    Fault(
        "every process writes every shard",
        "stillhouse.cache.files:write_shards",
        edited("if not ours:", "if False:"),
        "tests/cache/test_cache_files.py::test_a_shard_that_another_process_writes_is_left_alone",
    ),
    Fault(
        "shares of a cache overlap",
        "stillhouse.cache.files:write_shards",
        edited("plan.shards[i - 1 :: n]", "plan.shards"),
        "tests/cache/test_cache_files.py::test_shares_are_disjoint_and_merge_to_the_whole",
    ),
    Fault(
        "a cache of anything else taken",
        "stillhouse.cache.files:compare",
        nothing,
        "tests/cache/test_stored_teacher.py::test_another_teacher_preprocessing_labels_or_data_are_refused_by_name",
    ),
    Fault(
        "inputs of a stored row not compared",
        "stillhouse.cache.content:same",
        edited("found: NDArray[np.bool_] = apart <=", "found = apart <= 1e9 +"),
        "tests/cache/test_stored_teacher.py::test_inputs_that_it_was_not_asked_about_are_refused[mirrored]",
    ),
    Fault(
        "mass of the rest dropped",
        "stillhouse.cache.content:sums_of_rest",
        edited(".clamp(min=-3e4)", " - 1e4"),
        "tests/cache/test_stored_teacher.py::test_at_kept_temperatures_the_tail_is_exact[2.0]",
    ),
    Fault(
        "largest scores taken for all",
        "stillhouse.signals.logits:LogitSignal.forward",
        edited("teacher_out.kept is not None", "False"),
        "tests/cache/test_stored_teacher.py::test_at_kept_temperatures_the_tail_is_exact[4.0]",
    ),
    Fault(
        "a cache that differs from its teacher passes",
        "stillhouse.cache.stored:spot_check",
        edited("if not apart <= limit", "if False"),
        "tests/cache/test_stored_teacher.py::test_reversed_rows_with_good_hashes_are_found_by_the_live_teacher[scores]",
    ),
    Fault(
        "a cache is compared on the same rows each time",
        "stillhouse.cache.stored:spot_check",
        edited("np.random.SeedSequence().entropy if seed is None else seed", "seed or 0"),
        "tests/cache/test_stored_teacher.py::test_the_rows_of_a_check_are_drawn_anew",
    ),
    Fault(
        "beside a cache its teacher is not asked",
        "stillhouse.classification.teachers:_beside",
        edited("log(spot_check(stored, questions))", "log('')"),
        "tests/cache/test_stored_teacher.py::test_another_teacher_preprocessing_labels_or_data_are_refused_by_name",
    ),
    Fault(
        "all views of an image alike",
        "stillhouse.classification.data.augment:augment_rows",
        edited("repr(draw)", "repr(draw[::2])"),
        "tests/cache/test_stored_teacher.py::test_views_are_functions_of_seed_view_and_row",
    ),
    Fault(
        "the student sees the first view for ever",
        "stillhouse.classification.job:ClassificationJob.batch",
        edited("epoch % self.data.views", "0"),
        "tests/cache/test_stored_teacher.py::test_the_students_batch_is_the_cached_view",
    ),
    Fault(
        "windows of a language cache not compared",
        "stillhouse.cache.stored:StoredTeacher.kept",
        edited("self._part_of(seen(batch.inputs), index)", "'train'"),
        "tests/training/test_language_job.py::test_a_cache_of_other_windows_is_refused",
    ),
)

CLAUSES = (
    Fault(
        "negated literals ignored",
        "stillhouse.families.classification.students.clauses:ClauseBank.masks",
        edited("return positive, negated", "return positive, negated * 0"),
        "tests/students/test_clauses.py::test_evaluation_is_exact_and_follows_the_weights[capacity]",
    ),
    Fault(
        "budget of literals ignored",
        "stillhouse.families.classification.students.clauses:ClauseBank._within_budget",
        lambda original: lambda self, budget: self.include_logits.new_ones(2, self.num_clauses, self.num_bits),
        "tests/students/test_clauses.py::test_a_budget_keeps_the_literals_that_are_surest",
    ),
    Fault(
        "capacity not clamped",
        "stillhouse.families.classification.students.clauses:ClauseBank.capacity",
        edited(".clamp(max=float(self.failures))", ""),
        "tests/students/test_clauses.py::test_bf16_is_exact",
    ),
    Fault(
        "tau out of its bounds",
        "stillhouse.families.classification.students.clauses:Tau.now",
        edited("torch.sigmoid(self.raw)", "self.raw"),
        "tests/students/test_tm_options.py::test_option_changes_the_answer[tau_min]",
    ),
    Fault(
        "averages of tau are those of layers from before",
        "stillhouse.families.classification.students.base:ClauseModel.train",
        edited("self._averaged = None\n    return super().train(mode)", "return nn.Module.train(self, mode)"),
        "tests/students/test_tm_models.py::test_averages_of_tau_follow_an_exchanged_layer_and_a_copy",
    ),
    Fault(
        "average of tau stands still",
        "stillhouse.families.classification.students.clauses:Tau.advance",
        nothing,
        "tests/students/test_tm_options.py::test_average_of_tau_lags_behind_and_stands_still_in_eval",
    ),
    Fault(
        "partners are copies",
        "stillhouse.families.classification.students.core:_mirror",
        edited(".flip(0)", ""),
        "tests/students/test_tm_priors.py::test_symmetric_partners_are_complementary_and_clauses_differ[ste]",
    ),
    Fault(
        "gradient of clauses off by a sign",
        "stillhouse.families.classification.students.clauses:_Hits.backward",
        edited("to_mask.neg_()", "to_mask"),
        "tests/students/test_hits.py::test_it_is_the_straight_through_product[0.5-leading0]",
    ),
    Fault(
        "binarizer never learns its mean",
        "stillhouse.families.classification.students.core:Binarizer._track",
        nothing,
        "tests/students/test_tm_models.py::test_a_binarizer_standardizes_by_the_first_batch_and_then_slowly",
    ),
    Fault(
        "head gains ignored",
        "stillhouse.families.classification.students.attention:Attention.forward",
        edited("mixed = mixed * self.head_gains.to(mixed.dtype)[:, None, None]", "pass"),
        "tests/students/test_tm_swin.py::test_head_gains_weight_heads_and_are_saved",
    ),
    Fault(
        "relative positions ignored",
        "stillhouse.families.classification.students.attention:Attention._mask",
        edited("if self.bias is None:", "if True:"),
        "tests/students/test_tm_swin.py::test_relative_positions_see_distance_and_not_place[learned]",
    ),
    Fault(
        "thermometer of one level",
        "stillhouse.families.classification.students.flat:Thermometer.forward",
        edited("self.edges", "self.edges * 0 + 0.5"),
        "tests/students/test_tm_models.py::test_thermometer_counts_levels",
    ),
    Fault(
        "squares of filters are not joined",
        "stillhouse.families.classification.data.boolean_features:_largest",
        edited("torch.nn.functional.max_pool2d(maps, square, ceil_mode=True)", "maps[..., ::square, ::square]"),
        "tests/students/test_filter_bits.py::test_a_square_is_one_where_any_of_its_bits_is",
    ),
    Fault(
        "a headline's numbers are of the first comparison",
        "stillhouse.report.page:_verdict",
        edited("row = leading(rows)", "row = rows[0]"),
        "tests/report/test_report_page.py::test_the_headline_has_the_numbers_of_the_comparison_that_it_names",
    ),
    Fault(
        "pictures of clauses are a machine",
        "stillhouse.families.classification.machine_use:open_machine",
        edited("and not (place / SHIPPED).is_dir()", ""),
        "tests/cli/test_export.py::test_pictures_of_clauses_are_no_machine",
    ),
    Fault(
        "a square has a negative response where all of it has",
        "stillhouse.families.classification.data.boolean_features:boolean_features",
        edited("-_largest(-response, square)", "_largest(response, square)"),
        "tests/students/test_filter_bits.py::test_a_square_is_one_where_any_of_its_bits_is",
    ),
    Fault(
        "quantiles of negative responses are those of the smallest",
        "stillhouse.families.classification.data.boolean_features:_levels",
        edited("negative - 1, -1)", "0 * negative, 1)"),
        "tests/students/test_filter_bits.py::test_thresholds_are_quantiles_of_either_side",
    ),
    Fault(
        "a shift moves nothing",
        "stillhouse.classification.data.augment:_shifted",
        lambda original: lambda images: images.clone(),
        "tests/data/test_image_augment.py::test_a_shift_moves_and_does_nothing_else",
    ),
    Fault(
        "scales of a pyramid weigh nothing",
        "stillhouse.families.classification.students.pyramid:Fusion.forward",
        edited("self.weights.softmax(0)", "self.weights * 0 + 1"),
        "tests/students/test_tm_models.py::test_scales_of_a_pyramid_are_averaged_with_weights_of_sum_1",
    ),
    Fault(
        "rules of the wrong clauses",
        "stillhouse.families.classification.students.sites:literals_of",
        edited("mask[clause]", "mask[clause - 1]"),
        "tests/students/test_tm_rules.py::test_a_planted_rule_is_read_out[dense]",
    ),
    Fault(
        "overlays of zeros",
        "stillhouse.families.classification.vision.overlays:maps_of",
        lambda original: lambda model, pixels: tuple(x * 0 for x in original(model, pixels)),
        "tests/vision/test_overlays.py::test_overlays_hold_what_the_model_sees",
    ),
    Fault(
        "one overlay for all images",
        "stillhouse.families.classification.vision.overlays:maps_of",
        lambda original: lambda model, pixels: tuple(x[:1].expand_as(x) for x in original(model, pixels)),
        "tests/vision/test_overlays.py::test_overlays_hold_what_the_model_sees",
    ),
    Fault(
        "heads weighed on the test split",
        "stillhouse.families.classification.specialize:ClausesJob.before_validation",
        edited("self.data.validation", "self.data.test"),
        "tests/vision/test_overlays.py::test_heads_are_weighed_by_the_validation_split",
    ),
)

RADAR = (
    Fault(
        "aperture of the echo ignored",
        "stillhouse.families.sar.data.matched_filter:echo",
        edited("inside.astype(np.float64)", "np.ones_like(from_middle)"),
        "tests/data/test_sar_simulation.py::test_the_doppler_spectrum_is_the_band[toy-64]",
    ),
    Fault(
        "matched filter not conjugated",
        "stillhouse.families.sar.data.matched_filter:matched_filter",
        edited("np.conj(response[..., ::-1])", "response[..., ::-1]"),
        "tests/data/test_sar_simulation.py::test_a_point_on_a_sample_focuses_to_its_amplitude[0.0-rect]",
    ),
    Fault(
        "no noise",
        "stillhouse.families.sar.data.simulate:add_noise",
        lambda original: lambda lines, snr_db, rng: lines,
        "tests/data/test_sar_simulation.py::test_noise_has_the_power_that_was_asked_for[0.0]",
    ),
    Fault(
        "coherence blind to phase",
        "stillhouse.families.sar.metrics.lines:coherence",
        edited("np.vdot(p, r)", "np.vdot(np.abs(p), np.abs(r))"),
        "tests/metrics/test_sar_metrics.py::test_snr_and_coherence_of_added_noise[0.0]",
    ),
    Fault(
        "phase error times 0",
        "stillhouse.families.sar.metrics.lines:phase_rmse",
        times(0),
        "tests/metrics/test_sar_metrics.py::test_phase_differences_are_wrapped",
    ),
    Fault(
        "resolution in fine samples",
        "stillhouse.families.sar.metrics.point:measure_point",
        edited("float(next(ends) - next(ends)) / FINE", "float(next(ends) - next(ends))"),
        "tests/metrics/test_sar_point.py::test_the_sinc[512.0-1.1]",
    ),
    Fault(
        "truncation keeps the weakest",
        "stillhouse.families.sar.students.truncation:balance",
        edited("right.conj().T[:, :rank]", "right.conj().T[:, -rank:]"),
        "tests/students/test_sar_truncation.py::test_the_error_is_below_the_bound[1-3]",
    ),
    Fault(
        "int8 of one scale too large",
        "stillhouse.families.sar.students.compression:to_int8",
        edited("largest / 127", "largest / 7"),
        "tests/students/test_sar_compression.py::test_int8_has_the_noise_of_its_step",
    ),
    Fault(
        "pruning removes the loudest",
        "stillhouse.families.sar.students.compression:prune",
        edited("argsort()[:count]", "argsort(descending=True)[:count]"),
        "tests/students/test_sar_compression.py::test_pruning_takes_the_smallest_moduli_of_each_matrix",
    ),
    Fault(
        "a stream forgets its state",
        "stillhouse.families.sar.students.streaming:_Layer.forward",
        edited('_product(state["modes"], self.poles)', '0 * state["modes"]'),
        "tests/students/test_sar_streaming.py::test_line_by_line_is_the_training_form[7-causal]",
    ),
    Fault(
        "a line without truth counts as one that is learned",
        "stillhouse.families.sar.job:SarJob._error",
        edited("return share *", "return"),
        "tests/sar/test_sar_job.py::test_a_line_without_truth_has_the_teacher_alone",
    ),
    Fault(
        "position of a line ignored",
        "stillhouse.families.sar.students.network:SarSSM.places",
        times(0),
        "tests/students/test_sar_network.py::test_selectivity_makes_the_network_time_varying",
    ),
)

LANGUAGE = (
    Fault(
        "a language teacher is held against frequencies alone",
        "stillhouse.families.lm.family:LanguageFamily.grade",
        edited("plain=plain", "plain=chance"),
        "tests/lm/test_lm_teacher.py::test_a_teacher_is_judged_against_an_ngram",
    ),
    Fault(
        "text and chart turn the sign of bits each its own way",
        "stillhouse.report.verdicts:gain",
        edited("'better' if value > 0 else 'worse'", "'better' if value < 0 else 'worse'"),
        "tests/report/test_one_sign.py::test_text_chart_and_comparison_agree_where_less_is_better",
    ),
    Fault(
        "a language teacher ends with its last epoch",
        "stillhouse.core.train_teacher:train",
        edited("fit(job, training,", "fit(job, __import__('dataclasses').replace(training, keep='last'),"),
        "tests/lm/test_lm_teacher.py::test_a_teacher_ends_with_its_best_epoch",
    ),
    Fault(
        "perplexity of the sum",
        "stillhouse.families.lm.metrics.nll:perplexity",
        edited("np.mean(", "np.sum("),
        "tests/metrics/test_language_metrics.py::test_a_uniform_model_has_the_perplexity_of_its_vocabulary",
    ),
    Fault(
        "windows without context",
        "stillhouse.families.lm.metrics.nll:cut_windows",
        edited("step = length if stride is None else stride", "step = length"),
        "tests/metrics/test_language_metrics.py::test_every_token_but_the_first_counts_once[17-1]",
    ),
    Fault(
        "n-gram without back-off",
        "stillhouse.families.lm.metrics.ngram:NGram.nll",
        edited("level.backoff[at] * probability", "1e-9"),
        "tests/metrics/test_language_metrics.py::test_kneser_ney_is_its_definition",
    ),
    Fault(
        "spikes cost as products",
        "stillhouse.families.lm.metrics.energy:synapse_operations",
        edited("Operations(additions=additions", "Operations(macs=additions"),
        "tests/metrics/test_spiking_energy.py::test_synaptic_additions_are_counted_at_weights_that_are_there",
    ),
    Fault(
        "cached log-probabilities at another temperature",
        "stillhouse.losses.tail:Scores.log_probabilities",
        edited("self.scores / temperature", "self.scores"),
        "tests/teachers/test_language_teacher.py::test_cache_holds_the_largest_and_the_mass_of_all",
    ),
    Fault(
        "a cache of another teacher taken",
        "stillhouse.families.lm.teachers.cache:questions_of",
        edited("teacher.identity", "''"),
        "tests/teachers/test_language_teacher.py::test_a_cache_of_another_teacher_text_or_content_is_refused",
    ),
    Fault(
        "a row of the language cache shuffled",
        "stillhouse.cache.stored:StoredTeacher.kept",
        edited('"rest"), index)', '"rest"), index[::-1])'),
        "tests/teachers/test_language_teacher.py::test_cache_holds_the_largest_and_the_mass_of_all",
    ),
    Fault(
        "targets are the inputs",
        "stillhouse.families.lm.data.corpus:Windows.__call__",
        edited("both[:, 1:]", "both[:, :-1]"),
        "tests/data/test_language_text.py::test_windows_are_neighbours_and_do_not_overlap",
    ),
    Fault(
        "a changed corpus is not seen",
        "stillhouse.families.lm.data.corpus:ids_sha256",
        constant("0"),
        "tests/data/test_language_text.py::test_damaged_ids_are_refused",
    ),
    Fault(
        "a state that is not carried",
        "stillhouse.families.lm.students.network:SpikingLM.hidden",
        edited("if state is None else state", "if True else state"),
        "tests/students/test_spiking_lm.py::test_single_steps_equal_one_pass[7-delta]",
    ),
    Fault(
        "quantization left out",
        "stillhouse.families.lm.students.network:SpikingLM.quantize",
        edited("part.share.fill_", "float"),
        "tests/students/test_spiking_lm.py::test_share_zero_is_the_dense_network_of_equal_size",
    ),
    Fault(
        "an n-gram whose context does not cross pieces",
        "stillhouse.families.lm.students.prior:NGramPrior.nodes",
        edited("state[:, n - 1 : n]", "torch.full_like(state[:, :1], -1)"),
        "tests/students/test_ngram_prior.py::test_pieces_and_single_tokens_equal_one_pass",
    ),
    Fault(
        "an n-gram that hands out what it keeps",
        "stillhouse.families.lm.students.trie:Tables.of",
        edited("np.maximum(1 - sums, SMALLEST_REST)", "np.ones_like(sums)"),
        "tests/students/test_ngram_prior.py::test_without_pruning_it_is_the_kneser_ney_model",
    ),
    Fault(
        "an n-gram that keeps what is worth least",
        "stillhouse.families.lm.students.trie:count_trie",
        edited("often[n] * np.log(ratio)", "-often[n] * np.log(ratio)"),
        "tests/students/test_ngram_prior.py::test_what_is_kept_is_worth_more_than_what_is_not",
    ),
    Fault(
        "an n-gram that is not in the loss",
        "stillhouse.families.lm.job:LanguageJob._offset",
        constant(None),
        "tests/training/test_language_job.py::test_the_loss_is_of_scores_and_n_gram_together",
    ),
    Fault(
        "an n-gram that has counted the rows it is learned beside",
        "stillhouse.families.lm.students.prior:held_out_priors",
        edited("np.concatenate([text[: mine[0] * length], text[(mine[-1] + 1) * length :]])", "text"),
        "tests/training/test_language_job.py::test_rows_learn_beside_an_n_gram_of_the_other_rows",
    ),
    Fault(
        "squares that lose their sign",
        "stillhouse.families.lm.students.blocks:ChannelMix.forward",
        edited("h * h.abs()", "h * h"),
        "tests/students/test_spiking_lm.py::test_signed_squares_enter_the_down_projection_as_they_are",
    ),
    Fault(
        "a network that is shipped rounded and scored as it was",
        "stillhouse.families.lm.students.network:SpikingLM.settle",
        nothing,
        "tests/training/test_language_job.py::test_a_network_is_rounded_when_the_run_ends",
    ),
)

EMBEDDING = (
    Fault(
        "overlap of neighbors with the row itself",
        "stillhouse.families.embed.metrics.neighbourhood:nearest_neighbors",
        edited("kneighbors(return", "kneighbors(space.vectors, return"),
        "tests/metrics/test_neighbourhood.py::test_overlap_and_recall_are_those_of_scikit_learns_neighbours",
    ),
    Fault(
        "a text's votes are not over their length",
        "stillhouse.families.embed.text:weighted",
        edited("return normalize(counts.multiply(rarity).tocsr())", "return counts.multiply(rarity).tocsr()"),
        "tests/embed/test_text_student.py::test_codes_are_a_ridge_regression_on_tf_idf",
    ),
    Fault(
        "groups of letters count as words do",
        "stillhouse.families.embed.text:text_features",
        edited('"letters": LETTERS}', '"letters": 1.0}'),
        "tests/embed/test_text_student.py::test_codes_are_a_ridge_regression_on_tf_idf",
    ),
    Fault(
        "rows are not mixed with their neighbours",
        "stillhouse.families.embed.job:EmbeddingJob._mixed",
        edited("torch.where(moved, between, vectors)", "vectors"),
        "tests/training/test_embedding_job.py::test_mixed_rows_lie_between_a_row_and_a_neighbour_of_it_and_are_their_own_target",
    ),
    Fault(
        "the lucky epoch of few validation rows is kept",
        "stillhouse.training.loop:_Trainer._is_better",
        edited("found.luck > 0 and", "False and"),
        "tests/training/test_embedding_job.py::test_a_planted_lucky_epoch_is_not_kept",
    ),
    Fault(
        "lengths that differ are left out",
        "stillhouse.families.embed.material:length_spread",
        constant(0.0),
        "tests/embed/test_embed_family.py::test_lengths_are_kept_where_they_differ_and_judged_by",
    ),
    Fault(
        "equal students count as many witnesses",
        "stillhouse.core.summary:_witnesses",
        edited("if items not in seen", "if True"),
        "tests/test_summary.py::test_seeds_that_kept_the_same_start_are_one_witness",
    ),
    Fault(
        "effective rank is the width",
        "stillhouse.families.embed.metrics.neighbourhood:effective_rank",
        lambda original: lambda vectors: float(vectors.shape[1]),
        "tests/metrics/test_neighbourhood.py::test_a_collapsed_student_is_told_from_a_good_one",
    ),
    Fault(
        "quality of a row is that of all",
        "stillhouse.families.embed.metrics.neighbourhood:_row_spearman",
        lambda original: lambda far, near: original(far, near) * 0 + original(far, near).mean(),
        "tests/metrics/test_neighbourhood.py::test_row_spearman_is_scipys[cosine]",
    ),
    Fault(
        "operations are the parameters",
        "stillhouse.metrics.cost:count_cost",
        edited('"flops": int(counter.get_total_flops())', '"flops": sum(p.numel() for p in module.parameters())'),
        "tests/metrics/test_metrics.py::test_costs_are_counted_and_timed",
    ),
    Fault(
        "a drawback reads as a gain",
        "stillhouse.report.words:lead",
        edited('"hurts": f"{one} hurt{s}"', '"hurts": f"{one} help{s}"'),
        "tests/report/test_report_page.py::test_every_verdict_is_a_plain_sentence[teacher-hurts-The teacher hurts]",
    ),
)

RUNS = (
    Fault(
        "an arm seeded otherwise: images",
        "stillhouse.core.pipeline:_through_stages",
        edited("torch.manual_seed(seed)", "torch.manual_seed(seed + 100 * taught)"),
        "tests/conformance/test_every_family.py::test_both_arms_of_a_seed_begin_alike_and_see_equal_rows[images]",
    ),
    Fault(
        "an arm seeded otherwise: clauses",
        "stillhouse.core.pipeline:_through_stages",
        edited("torch.manual_seed(seed)", "torch.manual_seed(seed + 100 * taught)"),
        "tests/conformance/test_every_family.py::test_both_arms_of_a_seed_begin_alike_and_see_equal_rows[clauses]",
    ),
    Fault(
        "an arm seeded otherwise: sar",
        "stillhouse.core.pipeline:_through_stages",
        edited("torch.manual_seed(seed)", "torch.manual_seed(seed + 100 * taught)"),
        "tests/conformance/test_every_family.py::test_both_arms_of_a_seed_begin_alike_and_see_equal_rows[sar]",
    ),
    Fault(
        "an arm seeded otherwise: lm",
        "stillhouse.core.pipeline:_through_stages",
        edited("torch.manual_seed(seed)", "torch.manual_seed(seed + 100 * taught)"),
        "tests/conformance/test_every_family.py::test_both_arms_of_a_seed_begin_alike_and_see_equal_rows[lm]",
    ),
    Fault(
        "the control hears the teacher",
        "stillhouse.core.pipeline:_through_stages",
        edited("heard = tutors if taught else (None,) * len(stages)", "heard = tutors"),
        "tests/conformance/test_every_family.py::test_the_control_never_hears_the_teacher[images]",
    ),
    Fault(
        "the control learns in the order of the tutor of taught arms",
        "stillhouse.core.pipeline:_through_stages",
        edited(
            """(taught or lab.config.judge == "student"):
            lesson = replace(lesson, curriculum=_curriculum(family, lesson, choice,""",
            """True:
            heard_by_all = replace(lesson, tutor=tutors[lesson.number])
            lesson = replace(lesson, curriculum=_curriculum(family, heard_by_all, choice,""",
        ),
        "tests/conformance/test_every_family.py::test_the_control_never_hears_the_teacher[lm]",
    ),
    Fault(
        "the control in the teacher's order",
        "stillhouse.core.pipeline:_through_stages",
        edited(
            """(taught or lab.config.judge == "student"):
            lesson = replace(lesson, curriculum=_curriculum(family, lesson, choice,""",
            """True:
            heard_by_all = replace(lesson, tutor=tutors[lesson.number])
            lesson = replace(lesson, curriculum=_curriculum(family, heard_by_all, choice,""",
        ),
        "tests/sar/test_sar_run.py::test_the_control_hears_nobody",
    ),
    Fault(
        "the control is shipped",
        "stillhouse.core.family:reference_arm",
        lambda original: lambda arms: arms[0],
        "tests/conformance/test_every_family.py::test_the_taught_arm_is_shipped[sar]",
    ),
    Fault(
        "the worst seed is shipped",
        "stillhouse.core.folder:RunFolder.ship",
        edited("max(range", "min(range"),
        "tests/test_folder.py::test_the_seed_that_was_best_on_the_validation_split_is_shipped",
    ),
    Fault(
        "a run goes on with other data",
        "stillhouse.core.folder:RunFolder.same",
        nothing,
        "tests/test_folder.py::test_other_data_than_that_of_the_run_are_refused",
    ),
    Fault(
        "a teacher at chance accepted",
        "stillhouse.core.experiment:accept",
        edited("not grade.ready and not force", "False"),
        "tests/embed/test_embed_family.py::test_a_run_on_noise_needs_force",
    ),
    Fault(
        "a lower error counts as worse",
        "stillhouse.core.summary:_compared",
        edited("-1.0 if metric.lower_is_better", "1.0 if metric.lower_is_better"),
        "tests/test_summary.py::test_a_smaller_error_helps_and_a_smaller_score_hurts[True-hurts]",
    ),
)

SIGNALS = (
    Fault(
        "scores not standardized",
        "stillhouse.signals.logits:LogitSignal.forward",
        edited("if self.standardize:", "if False:"),
        "tests/signals/test_logit_signal.py::test_the_signal_is_the_plain_function_with_the_documented_defaults[True-forward-kl]",
    ),
    Fault(
        "features times 0",
        "stillhouse.signals.features:FeatureSignal.forward",
        times(0),
        "tests/signals/test_signals.py::test_unlike_features_are_joined_and_learnt[mse-mean-ours0-theirs0]",
    ),
    Fault(
        "weights of layers ignored",
        "stillhouse.signals.hidden:HiddenSignal.forward",
        edited("self.shares[number] * value", "value"),
        "tests/signals/test_hidden_signal.py::test_the_value_is_the_mean_of_the_single_places",
    ),
    Fault(
        "padding attended to",
        "stillhouse.signals.attention:AttentionSignal._mask",
        constant(None),
        "tests/signals/test_attention_signal.py::test_our_own_text_student_learns_from_a_bert",
    ),
    Fault(
        "a relation times 0",
        "stillhouse.signals.relations:RelationSignal.forward",
        times(0),
        "tests/signals/test_relation_signal.py::test_gradient_reaches_the_tapped_student_of_another_kind[mean-rkd-distance]",
    ),
    Fault(
        "depths of layers ignored",
        "stillhouse.signals.dynamics:DynamicsSignal.forward",
        edited("len(student) > 1 and", "False and"),
        "tests/signals/test_dynamics_signal.py::test_the_signal_gives_both_sides_their_own_depths",
    ),
    Fault(
        "exits learn from labels alone",
        "stillhouse.signals.exits:ExitSignal.forward",
        edited("config.alpha > 0", "False"),
        "tests/signals/test_exit_signal.py::test_the_value_is_the_published_sum",
    ),
    Fault(
        "an ensemble weighs all alike",
        "stillhouse.signals.ensemble:EnsembleSignal.forward",
        edited(
            "weights = self.weights_fn(student_out, members, batch.labels)",
            "weights = self.weights_fn(student_out, members, batch.labels); weights = weights * 0 + 1 / len(members)",
        ),
        "tests/signals/test_ensemble_signal.py::test_a_corrupted_teacher_is_left[learned]",
    ),
)

JOBS = (
    Fault(
        "delta ignored",
        "stillhouse.families.sar.job:SarJob.validate",
        edited("self._best + self.delta", "self._best"),
        "tests/sar/test_sar_job.py::test_delta_is_the_least_that_counts_as_better",
    ),
    Fault(
        "norms of weights times 0",
        "stillhouse.families.sar.monitor:weight_norms",
        lambda original: lambda module: dict.fromkeys(original(module), 0.0),
        "tests/sar/test_sar_monitor.py::test_norms_of_weights_by_layer",
    ),
    Fault(
        "edges of a line count",
        "stillhouse.families.sar.job:SarJob._cut",
        lambda original: lambda self, x: x,
        "tests/sar/test_sar_job.py::test_only_the_valid_region_counts",
    ),
    Fault(
        "features before outputs",
        "stillhouse.families.sar.objective:SarCurriculum._parts",
        edited(
            "(outputs, self.outputs_from), (features, self.features_from)",
            "(outputs, self.features_from), (features, self.outputs_from)",
        ),
        "tests/sar/test_sar_job.py::test_curriculum_goes_from_task_to_outputs_to_features",
    ),
    Fault(
        "the ramp is over at once",
        "stillhouse.families.lm.lesson:_grown",
        constant(1.0),
        "tests/training/test_language_job.py::test_the_ramp_goes_from_dense_to_quantized_weights_first",
    ),
    Fault(
        "the same windows in every epoch",
        "stillhouse.families.lm.job:LanguageJob.order",
        edited("epoch * self.rows", "0 * self.rows"),
        "tests/training/test_language_job.py::test_rows_are_all_seen_before_one_comes_again",
    ),
    Fault(
        "windows that are hard first",
        "stillhouse.families.lm.job:window_difficulty",
        times(-1),
        "tests/training/test_language_job.py::test_a_curriculum_begins_with_what_the_teacher_finds_easy",
    ),
    Fault(
        "vectors of other rows",
        "stillhouse.families.embed.data.rows:VectorRows._read",
        edited("self.store.read(rows)", "self.store.read(rows)[::-1].copy()"),
        "tests/training/test_embedding_job.py::test_rows_are_the_same_from_memory_and_from_disk",
    ),
)

SWEEPS = (
    Fault(
        "a sweep judged on the test split",
        "stillhouse.sweeps.trial:train_trial",
        edited(
            "scores.append(family.objective(done.best_rank))",
            'scores.append(float(family.score(model, arm, seed, lab).items["accuracy"].mean()))',
        ),
        "tests/sweeps/test_sweep.py::test_a_grid_is_judged_on_the_validation_split_alone",
    ),
    Fault(
        "pruning ignored",
        "stillhouse.sweeps.work:carry_out",
        edited("if plan.prune and trial.should_prune():", "if False:"),
        "tests/sweeps/test_sweep.py::test_a_trial_behind_the_median_is_stopped",
    ),
    Fault(
        "killed trials forgotten",
        "stillhouse.sweeps.study:_killed",
        nothing,
        "tests/sweeps/test_sweep.py::test_a_killed_trial_is_taken_up_again",
    ),
    Fault(
        "trials of others taken away",
        "stillhouse.sweeps.study:_claim",
        constant(True),
        "tests/sweeps/test_sweep.py::test_a_trial_in_the_hands_of_another_worker_is_left_to_it",
    ),
    Fault(
        "all workers draw the same",
        "stillhouse.sweeps.study:_sampler",
        edited("* 1_000_003 + number", ""),
        "tests/sweeps/test_sweep.py::test_workers_draw_different_settings",
    ),
    Fault(
        "any space in any study",
        "stillhouse.sweeps.study:open_study",
        edited("if changed:", "if False:"),
        "tests/sweeps/test_sweep.py::test_a_sweep_of_another_space_is_refused",
    ),
    Fault(
        "a front of what is dear",
        "stillhouse.sweeps.page:front",
        edited("c < cost", "c > cost"),
        "tests/sweeps/test_sweep.py::test_the_front_is_what_nobody_beats",
    ),
    Fault(
        "a sweep keeps a teacher of other data",
        "stillhouse.sweeps.work:keeping",
        edited("            kept.clear()\n", ""),
        "tests/sweeps/test_sweep.py::test_what_a_setting_decides_is_built_anew",
    ),
    Fault(
        "a sweep keeps a teacher whatever its settings",
        "stillhouse.sweeps.work:keeping",
        edited('or kept["teachers_of"] != key', ""),
        "tests/sweeps/test_sweep.py::test_what_a_setting_decides_is_built_anew",
    ),
    Fault(
        "a sweep keeps nothing",
        "stillhouse.sweeps.work:keeping",
        edited("    found: Any = copy.copy(family)", "    return family\n    found: Any = copy.copy(family)"),
        "tests/conformance/test_kept_between_trials.py::test_a_trial_with_what_is_left_of_another_is_the_trial_alone[clauses]",
    ),
    Fault(
        "a full disk fails a trial",
        "stillhouse.sweeps.work:carry_out",
        edited("except (Interrupted, CannotWrite):", "except Interrupted:"),
        "tests/sweeps/test_sweep.py::test_a_full_disk_fails_no_trial",
    ),
    Fault(
        "a student that is gone has no cost and no word",
        "stillhouse.report.runs:_cost",
        edited("return {}, str(error)", "return {}, None"),
        "tests/report/test_compare_runs.py::test_a_student_that_is_gone_is_named",
    ),
    Fault(
        "a file that went missing is not missed",
        "stillhouse.report.page:write_page",
        edited("for line in changed_files(run.path)", "for line in []"),
        "tests/report/test_report_page.py::test_a_file_that_went_missing_is_named",
    ),
    Fault(
        "verify pairs items by place",
        "stillhouse.core.items:pair",
        edited("[side[seed][one] for one in ids]", "list(side[seed].values())"),
        "tests/cli/test_verify.py::test_ids_are_matched_whatever_their_order",
    ),
    Fault(
        "verify pairs seeds by place",
        "stillhouse.core.items:_seeds",
        edited("[(seed, seed) for seed in sorted(first, key=_by_number)]", "list(zip(first, second))"),
        "tests/cli/test_verify.py::test_seeds_are_matched_whatever_their_order",
    ),
    Fault(
        "compare pairs seeds by place",
        "stillhouse.report.runs:against",
        edited(
            "one.items[seed].get(metric.name) for seed in seeds", "x[metric.name] for x in list(one.items.values())[:2]"
        ),
        "tests/report/test_compare_runs.py::test_seeds_stand_beside_themselves",
    ),
    Fault(
        "compare pairs any test splits",
        "stillhouse.core.family:other_test",
        constant(None),
        "tests/report/test_compare_runs.py::test_what_cannot_be_paired_says_why",
    ),
    Fault(
        "lines predicted in other units",
        "stillhouse.families.sar.use:LinePredictor._scaled",
        edited(" /= np.float32(self.scale.input_rms)", " /= np.float32(1)"),
        "tests/conformance/test_use.py::test_answers_are_those_of_the_run[sar]",
    ),
    Fault(
        "the least likely class named",
        "stillhouse.classification.photos:Classes._answer",
        edited("best = max(", "best = min("),
        "tests/conformance/test_use.py::test_answers_are_those_of_the_run[clauses]",
    ),
)


def _fault(name: str, target: str, breaks: object, test: str) -> Fault:
    return Fault(name, f"stillhouse.{target}", breaks, f"tests/{test}")  # type: ignore[arg-type]


NEW_USERS = (
    Fault(
        "a teacher's tokenizer stays in its folder",
        "stillhouse.families.lm.recipes:with_tokenizer",
        edited("if own and", "if False and"),
        "tests/lm/test_lm_run.py::test_a_teacher_brings_its_tokenizer",
    ),
    Fault(
        "generate takes a student's folder alone, not a run",
        "stillhouse.families.lm.use:generate",
        edited("student_folder(folder)", "folder"),
        "tests/lm/test_lm_run.py::test_commands_do_what_they_say",
    ),
    Fault(
        "an interval is drawn of two seeds",
        "stillhouse.report.page:_differences",
        edited("None if few else (low, high)", "(low, high)"),
        "tests/report/test_one_sign.py::test_text_chart_and_comparison_agree_where_less_is_better[2-0.0022]",
    ),
    Fault(
        "the explorer counts the rows of the page",
        "stillhouse.families.embed.evaluate:explore",
        edited("numbers=rows", "numbers=None"),
        "tests/cli/test_embed_command.py::test_the_page_holds_the_test_rows_with_texts_and_neighbours",
    ),
)

RELIABILITY = (
    Fault(
        "torch writes an export to a full disk by itself",
        "stillhouse.classification.export:write_program",
        edited("write_atomically(out,", "(lambda path, fill: path.write_bytes(raw))(out,"),
        "tests/cli/test_export.py::test_a_full_disk_is_named_and_torch_does_not_meet_it[write_program]",
    ),
    Fault(
        "a kind that is a list is a traceback",
        "stillhouse.families.classification.family:ClassesFamily.owns",
        edited('str(student.get("kind"))', 'student.get("kind")'),
        "tests/cli/test_small_faults.py::test_a_kind_that_is_no_word_is_named[[x]]",
    ),
    Fault(
        "aliases of aliases are read",
        "stillhouse.core.yaml_text:_OnceLoader.get_single_node",
        edited("if node is not None", "if False"),
        "tests/test_config.py::test_yaml_that_is_more_than_it_looks_is_refused",
    ),
    Fault(
        "a run is put into a run",
        "stillhouse.core.folder:_check_outside",
        nothing,
        "tests/test_folder.py::test_a_run_inside_a_run_is_refused",
    ),
    Fault(
        "every worker says what came of the sweep",
        "stillhouse.cli.sweep:main",
        edited("if WORKER in os.environ:", "if False:"),
        "tests/sweeps/test_sweep.py::test_two_workers_share_the_trials",
    ),
    Fault(
        "digits of another place are those of the package",
        "stillhouse.classification.family:ClassificationFamily._data_of",
        edited('if settings["name"] == "digits":', "if False:"),
        "tests/cli/test_small_faults.py::test_digits_lie_nowhere_else",
    ),
    Fault(
        "settings of a model that is none are a second error",
        "stillhouse.families.classification.vision.config:VisionConfig.read",
        edited("(one for one in MODELS if one in named)", "named"),
        "tests/cli/test_small_faults.py::test_a_model_that_is_none_is_one_error",
    ),
    Fault(
        "a sweep is put into a run",
        "stillhouse.sweeps.study:_check_place",
        nothing,
        "tests/sweeps/test_sweep.py::test_a_sweep_is_not_put_into_a_run_or_a_folder_of_something_else",
    ),
    Fault(
        "a page is written over the weights of a run",
        "stillhouse.core.outputs:_is_part",
        constant(False),
        "tests/test_outputs.py::test_a_file_of_a_run_is_not_written_over[student/student.safetensors]",
    ),
    Fault(
        "an export is written over a file of a run",
        "stillhouse.core.exports:write_export",
        edited("check_output(place)", "pass"),
        "tests/test_outputs.py::test_every_command_looks_before_it_writes",
    ),
    Fault(
        "a capture that was killed before its manifest had a name is nobody's",
        "stillhouse.families.embed.capture:_begun",
        edited('e.name[0] != "."', "True"),
        "tests/teachers/test_sentence_teacher.py::test_a_capture_that_was_killed_before_its_manifest_had_a_name_goes_on",
    ),
    Fault(
        "a study that cannot be written is a traceback",
        "stillhouse.sweeps.work:work",
        edited("except optuna.exceptions.StorageInternalError", "except KeyError"),
        "tests/sweeps/test_sweep.py::test_a_study_that_cannot_be_written_is_a_line",
    ),
    Fault(
        "a trial whose folder was damaged has failed for good",
        "stillhouse.sweeps.work:carry_out",
        edited("if continued and not trained", "if False"),
        "tests/sweeps/test_sweep.py::test_a_damaged_folder_fails_no_trial",
    ),
    Fault(
        "a student is scored on other data under its run's name",
        "stillhouse.core.folder:check_test_data",
        nothing,
        "tests/test_folder.py::test_data_that_a_run_was_not_scored_on_are_refused",
    ),
    Fault(
        "a card that went missing ships a student without one",
        "stillhouse.core.manifest:_fault",
        edited("if not path.is_file():", "if False:"),
        "tests/test_folder.py::test_a_changed_file_of_a_finished_training_is_named[card.json]",
    ),
    Fault(
        "a disk that is full at a flush of the cache is a traceback",
        "stillhouse.cache.array_file:ArrayFile.close",
        edited("except OSError as error", "except KeyError as error"),
        "tests/cache/test_cache_files.py::test_a_disk_that_is_full_at_any_moment_is_named[fsync]",
    ),
    Fault(
        "a pixel that is no number is dark to a machine given away",
        "stillhouse.families.classification.numpy_machine:ClauseMachine.bits",
        edited("(images >= 0) & (images <= 1)", "images == images.astype(images.dtype)) | (images != images"),
        "tests/cli/test_export.py::test_numpy_alone_gives_the_same_answers[flat]",
    ),
    Fault(
        "keys of another kind have a line each",
        "stillhouse.core.schema:_of_another_kind",
        constant("student.patch_size: unknown key"),
        "tests/test_config.py::test_keys_of_another_kind_share_a_line",
    ),
    Fault(
        "a changed file of a finished training is built on",
        "stillhouse.core.manifest:check_arms",
        nothing,
        "tests/test_folder.py::test_a_changed_file_of_a_finished_training_is_named",
    ),
    Fault(
        "a comparison looks at no file that it does not need",
        "stillhouse.core.manifest:changed_files",
        constant([]),
        "tests/report/test_compare_runs.py::test_a_file_that_was_changed_is_named",
    ),
    Fault(
        "a refused run leaves its folder",
        "stillhouse.core.lock:remove_empty",
        nothing,
        "tests/test_lock.py::test_a_run_that_is_refused_leaves_no_folders",
    ),
    _fault(
        "a result that was changed by hand is read",
        "core.folder:RunFolder.result",
        edited("check_file(path)", "pass"),
        "test_folder.py::test_a_figure_is_not_read_from_a_changed_file[result]",
    ),
    _fault(
        "arrays of any hand are believed",
        "core.folder:read_arrays",
        edited("check_file(path)", "pass"),
        "test_folder.py::test_a_figure_is_not_read_from_a_changed_file[scores]",
    ),
    _fault(
        "curves that were changed are not named",
        "core.manifest:list_files",
        edited("_files(below, run)}", "_files(below, run) if path.name != records.RECORDS}"),
        "test_folder.py::test_curves_that_were_changed_stop_no_run",
    ),
    _fault(
        "the files of an arm before it was trained again stay in the manifest",
        "core.manifest:list_files",
        edited("if start not in Path(name).parents", "if True"),
        "test_folder.py::test_the_manifest_holds_what_figures_rest_on",
    ),
    _fault(
        "a run without hashes is read as if it had them",
        "core.manifest:files_of",
        edited("if (run / records.SUMMARY).is_file():", "if False:"),
        "test_folder.py::test_a_run_of_an_earlier_version_is_one_line",
    ),
    _fault(
        "records that any checkpoint goes with",
        "training.checkpoint:_records",
        constant({"bytes": 0, "sha256": ""}),
        "training/test_stops.py::test_records_that_are_not_those_of_the_checkpoint_are_one_clear_error[None]",
    ),
    _fault(
        "mapped files that are holes",
        "core.records:open_mapped",
        edited('hasattr(os, "posix_fallocate")', "False"),
        "test_records.py::test_space_is_taken_before_it_is_mapped",
    ),
    _fault(
        "names that lead anywhere",
        "core.records:run_place",
        edited("safe_name(name)", "name"),
        "test_guards.py::test_no_name_of_a_run_leads_out_of_runs[a/b]",
    ),
    _fault(
        "networks of any size",
        "training.size:check_size",
        nothing,
        "test_guards.py::test_a_network_beyond_the_memory_is_refused_before_it_is_there",
    ),
    _fault(
        "arguments that open files",
        "teachers.from_timm:own_arguments",
        nothing,
        "test_guards.py::test_arguments_that_open_files_are_none_of_an_architecture[checkpoint_path]",
    ),
    _fault(
        "a damaged student is shipped",
        "core.folder:RunFolder.ship",
        edited("verify_files(source, card)", "pass"),
        "test_guards.py::test_a_student_that_was_damaged_is_not_shipped",
    ),
    _fault(
        "labels of a cache are believed",
        "families.classification.data.boolean_features:_open",
        edited('(f"{name}.npy", f"{name}-labels.npy")', '(f"{name}.npy",)'),
        "test_guards.py::test_labels_of_a_cache_are_hashed_too",
    ),
    _fault(
        "a JSON machine is believed",
        "logic.json_file:read_json",
        edited("found.pop(SEAL, None) != hash_of(found)", "found.pop(SEAL, None) is False"),
        "logic/test_c_json.py::test_json_with_another_number_is_an_error",
    ),
    _fault(
        "drawn rules are believed",
        "families.classification.rules_file:read_rules",
        edited("read_arrays(path.with_name(ARRAYS))", "dict(np.load(path.with_name(ARRAYS)))"),
        "report/test_rules_report.py::test_a_broken_file_is_named_and_left_out",
    ),
    _fault(
        "no line for an error of a library",
        "cli.main:explained",
        constant(None),
        "test_guards.py::test_errors_of_libraries_that_a_setting_causes_are_a_line",
    ),
)

RULES = (
    Fault(
        "literals are cut without looking at the answers",
        "stillhouse.logic.simplify:cut_literals",
        edited("if (moved.argmax(1) == answers[rows]).all():", "if True:"),
        "tests/logic/test_cut.py::test_cut_all_together_no_answer_changes[1]",
    ),
    Fault(
        "a cut clause keeps its capacity",
        "stillhouse.logic.simplify:cut_literals",
        edited("min(full[j], int(kept[j].sum()) - 1)", "full[j]"),
        "tests/logic/test_cut.py::test_a_fuzzy_clause_allows_fewer_misses_once_it_has_fewer_literals",
    ),
    Fault(
        "a cut rule that counts the images of the whole clause",
        "stillhouse.families.classification.students.rules:_spoken",
        constant((1, 1)),
        "tests/students/test_tm_rules.py::test_a_cut_that_lets_in_images_of_others_is_said_to",
    ),
    Fault(
        "groups of literals go untried",
        "stillhouse.logic.simplify:cut_by_trials",
        edited("if unchanged([*removed, *group]):", "if True:"),
        "tests/logic/test_cut.py::test_groups_are_tried_until_the_trials_are_used_up",
    ),
    Fault(
        "rules are judged with every other clause speaking",
        "stillhouse.families.classification.students.rules:_accuracy",
        edited("strength * mask + mean * (1 - mask)", "strength"),
        "tests/students/test_tm_rules.py::test_what_the_rule_alone_keeps",
    ),
    Fault(
        "how far a rule is fulfilled is always nothing",
        "stillhouse.families.classification.students.rules:_fulfilled",
        edited("/ full[site.name]", "* 0"),
        "tests/students/test_tm_rules.py::test_a_planted_rule_is_read_out[dense]",
    ),
    Fault(
        "an example patch from the place's mirror image",
        "stillhouse.families.classification.students.rule:examples",
        edited("divmod(int(place[image]), columns)", "divmod(int(place[image]), columns)[::-1]"),
        "tests/students/test_tm_rules.py::test_an_example_is_the_patch_where_the_clause_votes",
    ),
    Fault(
        "bright and dark literals drawn alike",
        "stillhouse.families.classification.rules_report:rule_picture",
        edited("(DARK, unwanted)", "(BRIGHT, unwanted)"),
        "tests/report/test_rules_report.py::test_the_page_shows_what_the_files_hold",
    ),
    Fault(
        "a written file is never compared",
        "stillhouse.core.exports:compare_answers",
        edited("if wrong or not largest <= bound:", "if False:"),
        "tests/cli/test_export.py::test_answers_are_compared_row_by_row",
    ),
    Fault(
        "an export that failed its check stays",
        "stillhouse.core.exports:write_export",
        edited("folder, beside / place.name, choices", "folder, place, choices"),
        "tests/cli/test_export.py::test_what_fails_its_check_leaves_nothing",
    ),
)

PROCESSES = (
    Fault(
        "both processes take the same rows of a radar run",
        "stillhouse.core.processes:share",
        edited("parts[ranks.rank()]", "parts[0]"),
        "tests/training/test_processes_of_families.py::test_a_whole_run_on_two_processes_is_that_of_one[sar]",
    ),
    Fault(
        "an exported embedder is not compared with its network",
        "stillhouse.families.embed.export.embedding:_write",
        edited("if not largest <=", "if False and not largest <="),
        "tests/export/test_embedding_export.py::test_the_verb_compares_codes_with_the_network[write_for_numpy]",
    ),
    Fault(
        "a gathered row hears of one process alone",
        "stillhouse.core.processes:_Gather.backward",
        edited("torch.distributed.all_reduce(gradient)", "pass"),
        "tests/training/test_processes.py::test_two_processes_train_as_one[relations]",
    ),
    Fault(
        "each process keeps its own gradient",
        "stillhouse.core.processes:average_gradients",
        edited("average(p.grad for p in parameters)", "pass"),
        "tests/training/test_processes.py::test_two_processes_train_as_one[labels]",
    ),
    Fault(
        "processes count alike, however many rows they have",
        "stillhouse.core.processes:share",
        edited("[len(part) for part in parts]", "[len(parts[0]) for part in parts]"),
        "tests/training/test_processes.py::test_two_processes_train_as_one[labels]",
    ),
    Fault(
        "a teacher is not split",
        "stillhouse.training.sharded:shard_frozen",
        constant(lambda: None),
        "tests/training/test_processes.py::test_each_process_holds_its_part_of_student_and_teacher",
    ),
    Fault(
        "all processes drop alike after a resume",
        "stillhouse.training.state:TrainingState._restore",
        edited('state["generators"][ranks.rank() - 1]', 'state["rng"]'),
        "tests/training/test_processes.py::test_a_stop_of_one_process_stops_both_and_a_resume_repeats_the_rest[dropout]",
    ),
    Fault(
        "another row is decoded ahead",
        "stillhouse.classification.data.streamed:Streamed.ahead",
        edited("self._decoded, row", "self._decoded, 0"),
        "tests/data/test_streamed.py::test_a_training_on_streamed_images_is_the_training_on_images_in_memory",
    ),
    Fault(
        "resized crops are whole images",
        "stillhouse.classification.data.augment:_transform",
        edited("scale=(0.25, 1.0)", "scale=(1.0, 1.0)"),
        "tests/data/test_streamed.py::test_resized_crops_are_parts_of_the_image",
    ),
    Fault(
        "a text is read beyond its end",
        "stillhouse.families.lm.data.corpus:Lines.__iter__",
        edited("size >= self.most_bytes", "False"),
        "tests/data/test_streamed.py::test_lines_are_those_of_the_whole_text",
    ),
)
LOGIC = (
    Fault(
        "every counter of the kernel begins one before its end",
        "stillhouse.logic.kernel:Kernel.__init__",
        edited("2**self.depth - clauses.capacity[order]", "2**self.depth - 1 - 0 * clauses.capacity[order]"),
        "tests/logic/test_kernels.py::test_counters_that_begin_at_zero_or_above",
    ),
    Fault(
        "wanted bits beyond an eight are counted where they are met",
        "stillhouse.logic.kernel:Kernel._walk",
        edited("wanted[whole:] + bits", "wanted[whole:]"),
        "tests/logic/test_kernels.py::test_a_clause_is_walked_once",
    ),
    Fault(
        "without numba nothing is said",
        "stillhouse.logic.machine:has_numba",
        edited("warnings.warn(WITHOUT_NUMBA, stacklevel=2)", "pass"),
        "tests/logic/test_kernels.py::test_without_numba_there_is_numpy_and_one_line",
    ),
    Fault(
        "passes forget a changed bias",
        "stillhouse.logic.simplify:_rebuilt",
        edited("bias=bias", "bias=clauses.bias"),
        "tests/logic/test_passes.py::test_what_is_removed",
    ),
    Fault(
        "no linear path between layers of logic",
        "stillhouse.logic.machine:Join.apply",
        edited("scores + (sums >> self.shift)", "scores + 0 * sums"),
        "tests/logic/test_machine.py::test_a_deep_machine_is_its_network[hidden1]",
    ),
    Fault(
        "a byte at the edge is below it",
        "stillhouse.logic.machine:Machine.bits",
        edited("rows >= self.cuts", "rows > self.cuts"),
        "tests/logic/test_machine.py::test_bytes_and_floats_are_the_same_bits",
    ),
    Fault(
        "NaN is a pixel",
        "stillhouse.logic.machine:Machine.checked",
        edited("np.isnan(images).any()", "False"),
        "tests/logic/test_machine.py::test_images_that_are_none_are_refused",
    ),
    Fault(
        "any machine fits",
        "stillhouse.logic.machine:Machine.check",
        nothing,
        "tests/logic/test_packed.py::test_parts_that_do_not_fit_are_refused",
    ),
    Fault(
        "clause bias lost on the way to logic",
        "stillhouse.families.classification.lower:_votes_of",
        edited("bias + weight @ layer", "bias + 0 * weight @ layer"),
        "tests/logic/test_machine.py::test_a_flat_machine_is_its_network[levels and clause bias]",
    ),
    Fault(
        "packed and dense are never compared",
        "stillhouse.families.classification.vision.packed:compare_packed",
        constant({}),
        "tests/vision/test_vision_runs.py::test_packed_and_dense_agree[options0]",
    ),
)

TARGETS = (
    Fault(
        "an embedder on its own is of no family",
        "stillhouse.families.embed.family:EmbedFamily.owns",
        edited('"stillhouse-embedder-1"', '"another"'),
        "tests/cli/test_export_families.py::test_an_embedders_onnx_graph_gives_its_codes",
    ),
    Fault(
        "two programs of the documents share a folder",
        "stillhouse.documents.programs:claimed",
        edited("place.mkdir(parents=True)", "pass"),
        "tests/documents/test_documents.py::test_resuming_goes_on_in_the_last_folder",
    ),
    Fault(
        "C that asks for a byte above the cut",
        "stillhouse.logic.c:c_text",
        edited("] >= cuts", "] > cuts"),
        "tests/logic/test_c_json.py::test_c_gives_the_same_answers_on_ten_thousand_images",
    ),
    Fault(
        "JSON without capacities",
        "stillhouse.logic.json_file:_layer",
        edited("clauses.capacity.tolist()", "[1] * clauses.num_clauses"),
        "tests/logic/test_c_json.py::test_json_comes_back_as_the_same_machine",
    ),
)

DOCUMENTS = (
    Fault(
        "every command of the documents in one run folder",
        "stillhouse.documents.programs:claimed",
        edited(
            "        place = numbered(base)\n",
            "        place = base.with_name(f'{base.name}-1')\n"
            "        place.mkdir(parents=True, exist_ok=True)\n"
            "        return place\n",
        ),
        "tests/documents/test_documents.py::test_a_second_command_has_a_run_of_its_own",
    ),
    Fault(
        "sizes of the documents cut unasked",
        "stillhouse.documents.programs:tiny",
        constant(True),
        "tests/documents/test_documents.py::test_only_sizes_are_cut_and_only_when_asked",
    ),
    Fault(
        "a changed file of the documents written over",
        "stillhouse.documents.files:lay_out",
        edited("                continue", "                pass"),
        "tests/documents/test_documents.py::test_a_file_that_the_reader_changed_is_kept",
    ),
    Fault(
        "fused attention or none",
        "stillhouse.families.classification.students.attention:Attention._mixed",
        edited('if "No available kernel" not in str(error)', "if True"),
        "tests/students/test_tm_options.py::test_where_no_fused_kernel_fits_the_ordinary_one_is_taken_and_said",
    ),
    Fault(
        "a refused run of clause networks stays",
        "stillhouse.families.classification.vision.run:_nothing_left",
        constant(contextlib.nullcontext()),
        "tests/vision/test_vision_runs.py::test_a_refused_run_leaves_nothing",
    ),
    Fault(
        "a failed download leaves its folder",
        "stillhouse.classification.data.torchvision_sets:_download",
        edited("        remove_empty(made)", "        pass"),
        "tests/data/test_torchvision_sets.py::test_a_failed_download_says_so_and_leaves_nothing",
    ),
    Fault(
        "a tiny share of a small data set",
        "stillhouse.documents.programs:_dataset",
        constant("mnist"),
        "tests/documents/test_documents.py::test_the_tiny_size_of_a_small_data_set_is_enough",
    ),
)

UNLIKE = (
    Fault(
        "the label is not enhanced",
        "stillhouse.losses.divergence:target_enhanced_kl",
        edited("torch.expm1(gamma * torch.log1p(sure)).log()", "gamma * log_p"),
        "tests/losses/test_target_enhanced.py::test_gradient_is_that_of_the_published_cross_entropy[2.0-3.0]",
    ),
    Fault(
        "relations of classes over samples",
        "stillhouse.losses.multi_level:class_relations",
        edited("_gap(q.t(), p.t())", "_gap(q, p)"),
        "tests/losses/test_multi_level.py::test_pairs_of_samples_and_pairs_of_classes[1.0]",
    ),
    Fault(
        "a map of activity is averaged before it is made",
        "stillhouse.signals.activation_maps:ActivationMapSignal._map",
        edited(
            "energy = activation_energy(side.tokens(x), power=self.power).unsqueeze(2)\n"
            "    return self.bridge.fitted(energy, side).squeeze(2)",
            "return activation_energy(self.bridge.fitted(side.tokens(x), side), power=self.power)",
        ),
        "tests/signals/test_activation_maps.py::test_tokens_with_a_class_token_against_a_larger_map",
    ),
    Fault(
        "the interpolated teacher follows the student",
        "stillhouse.signals.taid:TaidSignal.forward",
        edited("(1 - share) * student.detach() + share * teacher", "teacher"),
        "tests/signals/test_taid_signal.py::test_gradient_is_the_students_softmax_less_the_interpolated_one[1.0]",
    ),
    Fault(
        "the share is a straight line",
        "stillhouse.signals.taid:TaidSignal._share",
        edited("share += config.rate", "share += 0 * config.rate"),
        "tests/signals/test_taid_signal.py::test_the_share_follows_the_published_rule",
    ),
    Fault(
        "one exit alone is taught",
        "stillhouse.signals.ofa:OfaSignal.forward",
        edited("torch.stack(found).sum(dim=0)", "found[-1]"),
        "tests/signals/test_ofa_signal.py::test_every_exit_learns_the_teachers_scores[None]",
    ),
    Fault(
        "the mean over time steps is taught",
        "stillhouse.signals.time_steps:TimeStepSignal._scores",
        edited("return found", "return found.mean(1, keepdim=True)"),
        "tests/signals/test_time_steps.py::test_it_bounds_the_divergence_of_the_mean_scores",
    ),
    Fault(
        "mixing rows lose their heads",
        "stillhouse.losses.maps:mixing_distance",
        edited(".sum(dim=3).mean(dim=1)", ".sum(dim=3)[:, 0]"),
        "tests/losses/test_maps.py::test_mixing_is_the_frobenius_distance_over_rows_and_heads",
    ),
    Fault(
        "a filter's matrix without what comes later",
        "stillhouse.layers.state_space.s4d:S4D.matrix",
        edited("* (lag < 0)", "* 0"),
        "tests/signals/test_mixing_signal.py::test_the_matrix_of_a_state_space_filter_gives_its_output[None-False]",
    ),
    Fault(
        "spiking neurons forget to take the spike off",
        "stillhouse.layers.spikes.neurons:LeakyNeurons.forward",
        edited("charge = charge - spike", "charge = charge"),
        "tests/students/test_spiking_student.py::test_without_decay_spikes_count_what_came_in",
    ),
)

WRITING = (
    Fault(
        "no step is on the student's own texts",
        "stillhouse.families.lm.job:LanguageJob._writes",
        constant(False),
        "tests/lm/test_lm_techniques.py::test_own_texts_grow_resume_and_never_reach_the_control",
    ),
    Fault(
        "prompts are scored as if the student had written them",
        "stillhouse.families.lm.job:LanguageJob._written_terms",
        edited(">= config.prompt - 1", ">= 0"),
        "tests/lm/test_lm_techniques.py::test_written_texts_are_scored_where_the_student_wrote",
    ),
    Fault(
        "draws forget their temperature",
        "stillhouse.families.lm.rollouts:_drawn",
        edited("scores.float() / temperature", "scores.float()"),
        "tests/lm/test_lm_techniques.py::test_draws_follow_the_softmax_at_their_temperature",
    ),
    Fault(
        "the student writes without its memory",
        "stillhouse.families.lm.rollouts:continued",
        edited("scores, state = model.step(token, state)", "scores, _ = model.step(token, state)"),
        "tests/lm/test_lm_techniques.py::test_a_state_writes_what_the_whole_text_would",
    ),
    Fault(
        "what is known of a token is forgotten",
        "stillhouse.families.lm.teachers.other_tokens:Prefixes.next_byte",
        edited("[nodes.to(device)]", "[nodes.to(device) * 0]"),
        "tests/lm/test_other_tokens.py::test_marginals_equal_the_sum_over_the_vocabulary",
    ),
    Fault(
        "a token never ends with the window",
        "stillhouse.families.lm.teachers.other_tokens:ByteMarginals.next_bytes",
        edited("mass[-2:-1] + ended", "mass[-2:-1]"),
        "tests/lm/test_other_tokens.py::test_marginals_equal_the_sum_over_the_vocabulary",
    ),
    Fault(
        "the first byte is scored though it is given",
        "stillhouse.families.lm.teachers.other_tokens:OtherTokensTeacher.nats",
        edited("(first if k == 0 else 1.0)", "1.0"),
        "tests/lm/test_other_tokens.py::test_nats_of_bytes_add_up_to_those_of_tokens",
    ),
    Fault(
        "sizes of probabilities are not sorted",
        "stillhouse.losses.regression:universal_logit_distance",
        edited(".softmax(1).sort(1, descending=True).values", ".softmax(1)"),
        "tests/lm/test_other_tokens.py::test_universal_distance_is_that_of_sorted_masses",
    ),
    Fault(
        "every window is continued equally well",
        "stillhouse.families.lm.job:written_overlap",
        edited("rouge_l(a, b) for", "0.5 for"),
        "tests/lm/test_lm_techniques.py::test_a_window_that_the_student_continues_rightly_is_easy",
    ),
    Fault(
        "fewer rows in as many steps",
        "stillhouse.core.plan:RunPlan._shortened",
        edited("* self.curriculum.length", ""),
        "tests/lm/test_lm_techniques.py::test_pocl_in_both_budgets_and_its_control",
    ),
    Fault(
        "spiking attention passes by its neurons",
        "stillhouse.classification.students.text.spiking:SpikingBlock.forward",
        edited("self.projection(self.mixed(found))", "self.projection(found)"),
        "tests/students/test_spiking_text.py::test_products_take_spikes_and_the_answer_is_the_mean_over_time",
    ),
    Fault(
        "inner layers without the last norm",
        "stillhouse.families.lm.through_head:student_head",
        edited("(student.norm, fixed, (hidden,))", "(torch.nn.Identity(), {}, (hidden,))"),
        "tests/lm/test_lm_techniques.py::test_heads_make_of_the_last_layer_what_the_network_says",
    ),
)

WITHOUT_TORCH = (
    Fault(
        "an exported machine answers with the negated scores",
        "stillhouse.families.classification.machine_use:MachineClasses.probabilities",
        edited("softmax(", "softmax(-"),
        "tests/report/test_without_torch.py::test_what_a_machine_answers_is_its_softmax",
    ),
    Fault(
        "bits a byte of a packed model forget what was read",
        "stillhouse.families.lm.lines:PackedPredictor.nats",
        edited("step(int(token))", "step(0)"),
        "tests/report/test_without_torch.py::test_a_packed_language_model_reads_on",
    ),
)

STRANGERS = (
    Fault(
        "a saved transformer writes over a run",
        "stillhouse.families.classification.vision.run:check_save_path",
        nothing,
        "tests/vision/test_vision_first_use.py::test_a_checkpoint_is_not_written_over_the_run_itself",
    ),
    Fault(
        "a student at chance is not named",
        "stillhouse.core.experiment:_at_chance",
        constant([]),
        "tests/test_epochs.py::test_a_student_at_chance_says_nothing_of_its_teacher",
    ),
    Fault(
        "a comparison crowns a run that its interval does not",
        "stillhouse.report.runs:_headline",
        edited('row.get("word") == "no difference shown"', "False"),
        "tests/report/test_compare_runs.py::test_two_seeds_are_no_verdict_and_three_are",
    ),
    Fault(
        "distill forgets the tokenizer of a named teacher",
        "stillhouse.families.lm.family:LanguageFamily.completed",
        lambda original: lambda self, config, named: config,
        "tests/lm/test_lm_run.py::test_a_teacher_brings_its_tokenizer",
    ),
    Fault(
        "no untaught model judges a teacher",
        "stillhouse.core.experiment:accept",
        edited("plain = family.plain_score(config, data) if grade.plain is None else None", "plain = None"),
        "tests/teachers/test_own_teacher.py::test_check_tells_a_poor_teacher_from_a_good_one",
    ),
    Fault(
        "verify gives two seeds a verdict",
        "stillhouse.cli.verify:_not_worse",
        edited('found["verdict"] != "not tested" and ', ""),
        "tests/cli/test_verify.py::test_two_seeds_pass_nothing",
    ),
    Fault(
        "clause targets are taken of any layer",
        "stillhouse.signals.clause_targets:_check_bank",
        nothing,
        "tests/signals/test_clause_targets.py::test_a_layer_that_is_no_bank_is_refused_with_the_banks_there_are",
    ),
    Fault(
        "no filter judges a radar teacher",
        "stillhouse.families.sar.family:SarFamily.plain_score",
        constant(None),
        "tests/sar/test_sar_run.py::test_a_teacher_behind_the_matched_filter_is_poor",
    ),
    Fault(
        "a teacher without weights is taken",
        "stillhouse.teachers.teacher:_check_weights",
        nothing,
        "tests/teachers/test_teachers.py::test_a_layer_without_weights_is_named",
    ),
    Fault(
        "a reducer draws the same number from every source",
        "stillhouse.families.embed.reducer:_drawn",
        constant(0),
        "tests/embed/test_reducer.py::test_random_state_is_scikit_learns",
    ),
    Fault(
        "a saved reducer forgets its parameters",
        "stillhouse.families.embed.reducer:Reducer.save",
        edited("**self.get_params()", "**Reducer().get_params()"),
        "tests/embed/test_reducer.py::test_a_loaded_reducer_is_the_same_estimator",
    ),
)

CARDS = (
    Fault(
        "a program of torch is kept whatever it answers",
        "stillhouse.export.program:write_compared",
        edited("if not largest <= ", "if False and not largest <= "),
        "tests/cli/test_export_families.py::test_a_program_that_answers_otherwise_is_not_kept",
    ),
    Fault(
        "a hub is given places of this machine",
        "stillhouse.core.model_card:_without_places",
        lambda original: lambda value: value,
        "tests/conformance/test_hub.py::test_verdict_and_hashes_are_on_the_page_and_in_the_card[lm]",
    ),
)

FAULTS: tuple[Fault, ...] = (
    *DATA,
    *EXPLAINED,
    *STRANGERS,
    *CARDS,
    *WITHOUT_TORCH,
    *UNLIKE,
    *LOSSES,
    *TEMPERATURE,
    *CURRICULA,
    *LAYERS,
    *TRAINING,
    *CORE,
    *TEACHERS,
    *CACHE,
    *CLAUSES,
    *RADAR,
    *LANGUAGE,
    *WRITING,
    *EMBEDDING,
    *RUNS,
    *SIGNALS,
    *JOBS,
    *SWEEPS,
    *NEW_USERS,
    *RELIABILITY,
    *RULES,
    *PROCESSES,
    *LOGIC,
    *TARGETS,
    *SAMPLES,
    *OWN_TEACHER,
    *DOCUMENTED_WORDS,
    *COMPARING,
    *LOOKS,
    *TELLING,
    *ATTACHED,
    *WATCHING,
    *DOCUMENTS,
    *VERDICTS,
    *faults_proofs.FAULTS,
    *TASKS,
)
