"""Planted faults of data and of teachers from files: missing labels, links and leaks, published weights, errors of one line."""

from __future__ import annotations

import contextlib

from plant import Fault, constant, edited, nothing

LABELS = "tests/data/test_missing_labels.py::"
LINKS = "tests/data/test_links_and_leaks.py::"
WEIGHTS = "tests/teachers/test_published_weights.py::"
CORPUS = "stillhouse.families.lm.data.corpus:"
TEXTS = "stillhouse.classification.data.labelled_texts:"
FOLDER = "stillhouse.classification.data.folder:"

FAULTS = (
    # ------------------------------------------------------------------------------------------ labels that are missing
    Fault(
        "an empty cell is a class",
        "stillhouse.core.labels:missing_labels",
        edited("str(x).strip().lower() in CELLS", "str(x).strip().lower() in CELLS - {''}"),
        f"{LABELS}test_cells_without_a_label_are_counted_and_refused",
    ),
    Fault(
        "null in a table is a class",
        "stillhouse.core.labels:missing_labels",
        edited("str(x).strip().lower() in CELLS", "str(x).strip() in ('', '-1', '-1.0')"),
        f"{LABELS}test_cells_without_a_label_are_counted_and_refused",
    ),
    Fault(
        "None is a class",
        "stillhouse.core.labels:missing_labels",
        edited("x is None or ", ""),
        f"{LABELS}test_json_without_a_label_is_counted_and_refused",
    ),
    Fault(
        "NaN is a label",
        "stillhouse.core.labels:missing_labels",
        edited("np.isnan(found) | (found == MISSING)", "found == MISSING"),
        f"{LABELS}test_arrays_without_labels_are_refused",
    ),
    Fault(
        "-1 is a label",
        "stillhouse.core.labels:missing_labels",
        edited("np.isnan(found) | (found == MISSING)", "np.isnan(found)"),
        f"{LABELS}test_which_labels_are_missing",
    ),
    Fault(
        "a masked label is what lies under the mask",
        "stillhouse.core.labels:missing_labels",
        edited("np.asanyarray(labels)", "np.asarray(labels)"),
        f"{LABELS}test_which_labels_are_missing",
    ),
    Fault(
        "rows without a label pass",
        "stillhouse.core.labels:require_labels",
        nothing,
        f"{LABELS}test_a_test_split_needs_classes",
    ),
    Fault(
        "a missing label of a test split reads as one of training",
        "stillhouse.core.labels:require_labels",
        edited('if split == "train"', "if split"),
        f"{LABELS}test_a_test_split_needs_classes",
    ),
    Fault(
        "the line about the data does not count rows without a label",
        "stillhouse.classification.family:ClassificationFamily.data",
        edited('log(f"data: {error.line}")', "pass"),
        f"{LABELS}test_a_run_says_how_many_and_leaves_nothing",
    ),
    Fault(
        "texts are not asked for labels",
        f"{TEXTS}load_texts",
        edited("missing_labels(labels)", "missing_labels([0])"),
        f"{LABELS}test_rows_that_lack_the_column_have_no_label",
    ),
    Fault(
        "the columns of a file are those of its first row",
        f"{TEXTS}load_texts",
        edited("for row in rows for name in row", "for row in rows[:1] for name in row"),
        f"{LABELS}test_rows_that_lack_the_column_have_no_label",
    ),
    Fault(
        "lists of texts are not asked for labels",
        f"{TEXTS}TextData.from_texts",
        edited("missing_labels(labels)", "missing_labels([0])"),
        f"{LABELS}test_lists_of_texts_need_labels",
    ),
    Fault(
        "a list with None among its labels is of another type",
        "stillhouse.classification.data.arrays:rows_from_arrays",
        edited("if numbers.ndim == 1:", "if numbers.ndim == 1 and numbers.dtype.kind in 'iu':"),
        f"{LABELS}test_a_list_and_a_tensor_of_labels_are_read_alike",
    ),
    Fault(
        "an .npz without labels does not say which file",
        "stillhouse.classification.data.arrays:load_npz",
        edited("if key in arrays and arrays[key].ndim == 1:", "if False:"),
        f"{LABELS}test_npz_files_without_labels_are_refused",
    ),
    Fault(
        "unlabelled is a class",
        f"{FOLDER}_list",
        edited("folder.name.lower() not in UNLABELLED", "folder.name"),
        f"{LABELS}test_without_splits_too_and_an_empty_one_is_none",
    ),
    Fault(
        "a folder for unlabelled images beside train is not seen",
        f"{FOLDER}_list",
        edited('root.iterdir() if split == "train" and place != root else ()', "()"),
        f"{LABELS}test_a_folder_called_unlabelled_is_no_class",
    ),
    Fault(
        "labels of vectors may be missing",
        "stillhouse.families.embed.data.vectors:_checked_labels",
        edited("if found.ndim == 1:", "if False:"),
        f"{LABELS}test_labels_of_vectors_are_never_missing",
    ),
    Fault(
        "a score of NaN is a score",
        "stillhouse.families.embed.data.texts:read_pairs",
        edited("if not math.isfinite(float(score)):", "if False:"),
        f"{LABELS}test_a_score_of_sentence_pairs_is_a_number",
    ),
    Fault(
        "a teacher is checked on rows without a label",
        "stillhouse.teachers.readiness:check_teacher",
        edited(
            'require_labels(missing_labels(y), f"teacher {teacher.name}: the rows to check it on", "validation")',
            "pass",
        ),
        f"{LABELS}test_a_teacher_is_not_checked_on_rows_without_a_label",
    ),
    Fault(
        "the explorer colours missing labels as a class",
        "stillhouse.families.embed.explore_page:_categories",
        edited('"no label" if missing else str(label)', "str(label)"),
        "tests/report/test_explore_page.py::test_rows_without_a_label_are_said_to_have_none",
    ),
    # ------------------------------------------------------------------------------------------ links and leaks
    Fault(
        "every link is followed",
        "stillhouse.core.walk:follow",
        constant(True),
        f"{LINKS}test_a_link_out_of_the_root_is_not_followed",
    ),
    Fault(
        "a link back up is followed",
        "stillhouse.core.walk:follow",
        edited("elif _real(link.parent).is_relative_to(real):", "elif False:"),
        f"{LINKS}test_a_link_back_up_is_not_followed",
    ),
    Fault(
        "a file is read as often as it has names",
        "stillhouse.core.walk:once",
        edited("file.identity in seen", "False"),
        f"{LINKS}test_one_file_is_read_once_whatever_it_is_called",
    ),
    Fault(
        "what is passed over is not said",
        "stillhouse.core.walk:Passed.warn",
        nothing,
        f"{LINKS}test_a_link_out_of_the_root_is_not_followed",
    ),
    Fault(
        "a link's name comes before a file's own",
        "stillhouse.core.walk:files_under",
        edited(
            "return sorted(once((file for _, file in found), passed))",
            "return sorted(once(sorted(file for _, file in found), passed))",
        ),
        f"{LINKS}test_a_files_own_name_comes_before_those_of_links",
    ),
    Fault(
        "a class that leads out is left out",
        f"{FOLDER}_check_inside",
        edited("if len(passed.outside) > before:", "if False:"),
        f"{LINKS}test_a_class_or_split_that_leads_out_is_an_error",
    ),
    Fault(
        "no split is held against another",
        "stillhouse.classification.data.leaks:check_apart",
        nothing,
        f"{LINKS}test_an_image_in_two_splits_is_an_error_that_names_it",
    ),
    Fault(
        "copies in two splits are not seen",
        "stillhouse.classification.data.leaks:_keys_of_several",
        constant(set()),
        f"{LINKS}test_an_image_in_two_splits_is_an_error_that_names_it",
    ),
    Fault(
        "an image may be of two classes",
        f"{FOLDER}_check_one_class",
        nothing,
        f"{LINKS}test_an_image_of_two_classes_is_an_error",
    ),
    Fault(
        "predict follows links",
        "stillhouse.classification.photos:_of_folder",
        edited(
            "if not found:",
            "found = [type('F', (), {'path': x}) for x in sorted(folder.rglob('*.png'))]\n    if not found:",
        ),
        f"{LINKS}test_predict_reads_each_photo_once_and_none_from_outside",
    ),
    Fault(
        "a text may be two splits",
        f"{CORPUS}check_apart",
        nothing,
        f"{LINKS}test_a_text_is_one_split_alone",
    ),
    Fault(
        "a product is found by each of its names",
        "stillhouse.families.sar.data.products:_zarr_folders",
        edited("real.setdefault(path.resolve(), path)", "real.setdefault(path, path)"),
        f"{LINKS}test_products_are_found_once_and_none_outside",
    ),
    # ------------------------------------------------------------------------------------------ published weights
    Fault(
        "weights without counters of batches are refused",
        "stillhouse.teachers.recognised:shapes_of",
        edited('if not name.endswith("num_batches_tracked")', ""),
        f"{WEIGHTS}test_weights_without_counters_of_batches_load",
    ),
    Fault(
        "counters of batches that are there are dropped",
        "stillhouse.teachers.from_checkpoint:load_strictly",
        edited(
            "module.load_state_dict(dict(weights),",
            "module.load_state_dict({n: weights[n] for n in theirs},",
        ),
        f"{WEIGHTS}test_counters_that_are_there_are_kept_and_what_else_is_missing_is_an_error",
    ),
    Fault(
        "CIFAR's networks are normalized by the data",
        "stillhouse.teachers.cifar_resnet:build_cifar",
        edited("Input(3, IMAGENET_MEAN, IMAGENET_STD, side)", "Input(3, task.pixel_mean, task.pixel_std, side)"),
        f"{WEIGHTS}test_a_published_file_is_recognised_and_normalized_as_it_was_trained",
    ),
    Fault(
        "CIFAR's shortcuts put the new channels on one side",
        "stillhouse.teachers.cifar_resnet:_Block.forward",
        edited("(0, 0, 0, 0, self.new, self.new)", "(0, 0, 0, 0, 0, 2 * self.new)"),
        f"{WEIGHTS}test_a_published_file_is_recognised_and_normalized_as_it_was_trained",
    ),
    Fault(
        "CIFAR's networks are not recognised",
        "stillhouse.teachers.recognised:recognise",
        constant(None),
        f"{WEIGHTS}test_its_gray_and_small_images_are_fitted",
    ),
    Fault(
        "three channels are not made one",
        "stillhouse.teachers.from_timm:adapt_channels",
        edited("if channels != 3 and name in found", "if False and name in found"),
        f"{WEIGHTS}test_weights_of_three_channels_take_gray_images",
    ),
    Fault(
        "three channels are averaged",
        "stillhouse.teachers.from_timm:adapt_channels",
        edited("adapt_input_conv(channels, found[name])", "adapt_input_conv(channels, found[name]) / 3"),
        f"{WEIGHTS}test_weights_of_three_channels_take_gray_images",
    ),
    Fault(
        "a first layer that timm cannot adapt is left at random",
        "stillhouse.teachers.from_timm:check_adapts",
        nothing,
        f"{WEIGHTS}test_published_weights_that_timm_would_leave_at_random_are_refused",
    ),
    Fault(
        "operations of a teacher are counted by the multiply-add",
        "stillhouse.classification.teachers:flops_of",
        lambda original: lambda teacher: None if (found := original(teacher)) is None else found // 2,
        f"{WEIGHTS}test_operations_of_a_teacher_are_those_counted_by_hand",
    ),
    Fault(
        "a cache does not know what its teacher costs",
        "stillhouse.classification.teachers:questions_of",
        edited('"flops": flops_of(teacher)', '"flop": 0'),
        "tests/cache/test_stored_teacher.py::test_it_answers_as_the_teacher_does",
    ),
    Fault(
        "a run does not say what its teacher costs",
        "stillhouse.classification.teachers:flops_of",
        constant(None),
        f"{WEIGHTS}test_a_run_says_what_both_sides_cost",
    ),
    Fault(
        "the report leaves the teacher's operations out",
        "stillhouse.report.page:_costs",
        edited("known = NOTHING if flops is None else", "known = NOTHING if True else"),
        f"{WEIGHTS}test_a_run_says_what_both_sides_cost",
    ),
    # ------------------------------------------------------------------------------------------ one line an error
    Fault(
        "torch's words about pickles stand beside ours",
        "stillhouse.core.checks:one_line_for_pickles",
        lambda original: contextlib.nullcontext,
        f"{WEIGHTS}test_pickles_in_the_place_of_other_files_are_one_line_too",
    ),
    Fault(
        "an error is as many lines as it quotes",
        "stillhouse.cli.main:_text",
        lambda original: str,
        f"{WEIGHTS}test_an_error_of_two_lines_is_shown_in_one",
    ),
)
