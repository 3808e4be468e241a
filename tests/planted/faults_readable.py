"""Planted faults of rules and scorecards: how they grow, what is read of them, and their programs."""

from __future__ import annotations

from plant import Fault, constant, edited, nothing

# fmt: off

ROOM = "stillhouse.tasks.classification"
NETWORK = f"{ROOM}.students.rule_network:RuleNetwork"
GROWN = "tests/students/test_rule_network.py::"
READ = "tests/report/test_readable.py::"
WRITTEN = "tests/export/test_readable_exports.py::"

READABLE = (
    Fault("no word is added to a rule", f"{NETWORK}._grow", nothing, f"{GROWN}test_a_negation_that_the_data_ask_for_is_found"),
    Fault("words are added where they harm", f"{NETWORK}._grow",
          edited("self._strongest(z * elsewhere)", "self._strongest(-z * elsewhere)"),
          f"{GROWN}test_a_negation_that_the_data_ask_for_is_found"),
    Fault("no rule of two words is begun", f"{NETWORK}._grow", edited("place is not None and", "False and"),
          f"{GROWN}test_two_words_that_mean_more_together_become_a_rule"),
    Fault("words are added without evidence", f"{NETWORK}._strongest", edited("score <= self.config.evidence", "score <= 0"),
          f"{GROWN}test_without_evidence_no_word_is_added"),
    Fault("places that stay free are not filled", f"{NETWORK}._fill", nothing, f"{GROWN}test_without_evidence_no_word_is_added"),
    Fault("filler words are added", f"{ROOM}.students.rule_network:_is_filler", constant(False),
          f"{GROWN}test_words_that_say_nothing_of_a_topic_are_not_added"),
    Fault("filler words begin rules", f"{NETWORK}.__init__", edited("torch.where(content, 1.0, FILLER)", "1"),
          f"{GROWN}test_rules_do_not_begin_with_words_that_say_nothing_of_a_topic"),
    Fault("rules may be longer than their limit", f"{NETWORK}._grow", edited("counts >= limit", "counts > limit"),
          f"{GROWN}test_no_rule_has_more_words_than_it_may[1]"),
    Fault("points below 0 count inside and not in print", f"{NETWORK}.forward",
          edited("self.votes.clamp(min=0)", "self.votes - 0.5"), f"{GROWN}test_what_is_printed_decides_at_any_time[0.45]"),
    Fault("a negation is printed as a word", f"{NETWORK}.readable", edited("one < self.features)", "True)"),
          f"{GROWN}test_a_negation_that_the_data_ask_for_is_found"),
    Fault("an interrupted training forgets what it gathered", f"{NETWORK}.sums", constant({}),
          f"{GROWN}test_an_interrupted_training_grows_the_same_rules"),
    Fault("a rule is right as often as it holds", f"{ROOM}.readable_text:screen",
          edited("(labels[on] == kind).mean()", "on.mean()"), f"{READ}test_shares_are_those_counted_by_hand"),
    Fault("a rule that holds everywhere has a line", f"{ROOM}.readable_text:_chosen", edited("LEAST <= share[j] <= MOST", "True"),
          f"{READ}test_a_rule_that_holds_everywhere_has_no_line_of_its_own"),
    Fault("examples are the first rows", f"{ROOM}.readable_text:screen",
          edited("on & (scores.argmax(1) == kind) & (without.argmax(1) != kind)", "on"),
          f"{READ}test_examples_are_rows_that_the_rule_decides"),
    Fault("the screen keeps what the whole model knows", f"{ROOM}.readable_text:screen",
          edited("there @ points + start", "there @ votes + np.array(model.bias)"),
          f"{READ}test_what_the_screen_keeps_is_of_its_points_alone"),
    Fault("points are chosen without those that are there", f"{ROOM}.readable_text:_small",
          edited("now = _softmax(holds @ points + start)", "now = _softmax(start + np.zeros(target.shape))"),
          f"{READ}test_points_are_chosen_by_what_they_bring"),
    Fault("what is printed is not what is counted", f"{ROOM}.readable_text:_class_lines",
          edited("points[own[np.abs(points[own, k]).argmin()], k] = 0", "points = points * 0"),
          f"{READ}test_points_without_room_do_not_count"),
    Fault("printed points are not fitted", f"{ROOM}.readable_text:_fit", edited("= spread(flat)", "= np.sign(spread(flat))"),
          f"{READ}test_points_of_few_rules_are_fitted_to_the_answers_of_all"),
    Fault("texts of strangers are markup", f"{ROOM}.readable_report:marked", edited("else escape(part)", "else Markup(part)"),
          f"{READ}test_files_come_back_and_the_page_escapes"),
    Fault("marked words end inside of words", f"{ROOM}.readable_report:marked", edited(r"(?!\w)", ""),
          f"{READ}test_words_are_marked_as_they_are_counted"),
    Fault("words of one letter count in plain Python", f"{ROOM}.readable_exports:python_text", edited("word=WORD", r"word='\\w+'"),
          f"{WRITTEN}test_plain_python_cuts_texts_as_scikit_learn_does"),
    Fault("runs of words are one shorter in plain Python", f"{ROOM}.readable_exports:python_text",
          edited('ngrams=model.reading["ngrams"]', 'ngrams=model.reading["ngrams"] - 1'),
          f"{WRITTEN}test_plain_python_cuts_texts_as_scikit_learn_does"),
    Fault("a tie is the last class in SQL", f"{ROOM}.readable_exports:sql_text",
          edited("'>' if other < number else '>='", "'>='  if other < number else '>'"),
          f"{WRITTEN}test_a_tie_is_the_first_class_in_every_program"),
    Fault("what is missing is neither in SQL", f"{ROOM}.readable_exports:_conditions",
          edited('COALESCE({quoted} > {cut!r}, 0)', '({quoted} > {cut!r})'),
          f"{WRITTEN}test_a_negation_of_what_is_missing_holds_in_sql"),
    Fault("negations are left out of plain Python", f"{ROOM}.readable_exports:python_text",
          edited("for side in (True, False)", "for side in (True, True)"),
          f"{WRITTEN}test_every_form_answers_as_the_student[rules-table-python]"),
    Fault("C is linked where its file has no ending", f"{ROOM}.readable_run:_answers_of_c", edited('"-x", "c", ', ""),
          f"{WRITTEN}test_every_form_answers_as_the_student[scorecard-words-c]"),
    Fault("a screen has as many lines as it likes", f"{ROOM}.readable_run:rules_of_folder", edited("lines or SCREEN", "SCREEN"),
          f"{WRITTEN}test_a_loaded_student_prints_its_rules[rules-words]"),
)
