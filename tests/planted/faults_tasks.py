"""Faults of radar and language tasks, finished runs, divergences at high temperatures and CKA by name."""

from __future__ import annotations

from plant import Fault, constant, edited, nothing

# fmt: off

COMMANDS = "tests/sar/test_sar_commands.py::"
STREAM = "tests/sar/test_sar_stream.py::"
FINISHED = "tests/conformance/test_finished.py::"
HOT = "tests/losses/test_hot.py::"

TASKS = (
    # ------------------------------------------------------------------------------------------ radar
    Fault("--data of distill leaves the teacher's file as it is", "stillhouse.tasks.sar.documented:_settings",
          edited('over.get("data.source") == "npz"', "False"), f"{COMMANDS}test_data_of_distill_takes_the_place_of_any_block[own]"),
    Fault("a student's file has no lines of the teacher's", "stillhouse.tasks.sar.documented:read_student",
          edited("{**lines, **mapping}", "mapping"), f"{COMMANDS}test_a_changed_setting_of_the_lines_is_laid_over_the_teachers"),
    Fault("gamma by --set is taken away too", "stillhouse.compat.sar:_distill", edited('"gamma" not in weights and ', ""),
          f"{COMMANDS}test_the_documented_tiny_command"),
    Fault("lengths of axes are not looked at", "stillhouse.tasks.sar.use:LinePredictor.checked",
          edited("samples < self.aperture or bins == self.length != samples", "False"),
          f"{STREAM}test_a_transposed_array_is_refused_by_its_length"),
    Fault("the training length says nothing of a transposed array", "stillhouse.tasks.sar.use:LinePredictor.checked",
          edited("bins == self.length != samples", "False"), f"{STREAM}test_a_transposed_array_is_refused_by_its_length[shape1]"),
    Fault("truncation takes all threads", "stillhouse.tasks.sar.students.compression:truncate_layer",
          edited("threadpool_limits(1)", "threadpool_limits(2)"),
          "tests/students/test_sar_truncation.py::test_truncation_takes_one_thread_and_each_root_once"),
    Fault("roots are not put back in order", "stillhouse.tasks.sar.students.compression:_root",
          edited("root[pivot - 1] =", "root[:] ="), "tests/students/test_sar_truncation.py::test_the_error_is_below_the_bound"),
    Fault("noise has the quality of silence", "stillhouse.tasks.sar.metrics:noise_quality", constant(0.0),
          "tests/metrics/test_sar_metrics.py::test_noise_passes_the_bar_once_in_twenty"),
    Fault("noise is counted as if its band were whole", "stillhouse.tasks.sar.metrics:noise_quality",
          edited("speckle * power.sum() ** 2 / max(float((power**2).sum()), 1e-300)", "float(len(power))"),
          "tests/metrics/test_sar_metrics.py::test_noise_passes_the_bar_once_in_twenty"),
    # ------------------------------------------------------------------------------------------ teachers, finished runs
    Fault("every trained teacher is recommended", "stillhouse.core.task:TeacherCheck.use",
          lambda original: lambda self, how: f"use it as {how}",
          "tests/conformance/test_trained_teachers.py::test_a_teacher_at_chance_is_not_recommended[images]"),
    Fault("a poor teacher is recommended", "stillhouse.core.task:TeacherCheck.use", edited('self.status == "poor"', "False"),
          "tests/conformance/test_trained_teachers.py::test_a_poor_one_is_said_to_be_poor"),
    Fault("a finished run is carried out again", "stillhouse.core.experiment:concluded", constant(None),
          f"{FINISHED}test_nobody_is_asked[embed]"),
    Fault("a run whose files are gone is finished", "stillhouse.core.experiment:concluded",
          edited("if all((folder.path / name).is_file() for name in files_of(folder.path))", "if summary"),
          f"{FINISHED}test_what_is_not_whole_is_concluded_again"),
    Fault("another version's summary is handed out", "stillhouse.core.experiment:concluded",
          edited('== versions()["stillhouse"]', "is not None"), f"{FINISHED}test_what_is_not_whole_is_concluded_again"),
    Fault("the page of a finished run is not looked for", "stillhouse.core.experiment:run",
          edited("if not (out / REPORT).is_file():", "if False:"), f"{FINISHED}test_a_deleted_page_is_written_again[embed]"),
    # ------------------------------------------------------------------------------------------ embeddings, losses
    Fault("a KL is the sum of its first orders", "stillhouse.losses.softened:kl_of_logs",
          edited("return found.masked_fill", "found = (a * -gap).sum(dim=1)\n    return found.masked_fill"),
          f"{HOT}test_the_hot_limit_is_reached_in_single_precision"),
    Fault("relations of samples keep their common part", "stillhouse.losses.correlation:sample_relations",
          edited("_gap(q - 1 / q.shape[1], p - 1 / p.shape[1])", "_gap(q, p)"),
          f"{HOT}test_the_brothers_of_that_formula_are_as_exact"),
    Fault("kernel alignment is centered", "stillhouse.losses.cka:kernel_alignment_loss", edited("center=False", "center=True"),
          "tests/losses/test_kernel_alignment.py::test_it_is_the_printed_formula"),
    Fault("the distance kernel-alignment is cka", "stillhouse.signals.hidden:HiddenSignal._compare",
          edited("OF_BATCHES.get(self.config.distance)", 'OF_BATCHES.get("cka")'),
          "tests/losses/test_kernel_alignment.py::test_signals_take_it_by_name[hidden]"),
    Fault("a class order that was given is forgotten by the hint", "stillhouse.teachers.check:permutation",
          edited("range(len(names)) if order is None else np.argsort(order)", "range(len(names))"),
          "tests/teachers/test_own_teacher.py::test_a_wrong_order_that_was_given_is_put_right"),
    Fault("an unfinished run is compared", "stillhouse.core.folder:check_finished", nothing,
          "tests/report/test_compare_runs.py::test_an_unfinished_run_is_refused_with_what_finishes_it"),
    Fault("recipes of YAML files are not listed", "stillhouse.cli.list:recipes",
          edited('room.glob("*.yaml")', "()"),
          "tests/cli/test_help.py::test_what_is_listed_is_what_there_is"),
)
