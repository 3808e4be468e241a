"""Which samples are learned from now, and from what: easy before hard in nested stages, with its controls.

Import is light: torch is loaded only where a tensor is returned.
"""

from stillhouse.curricula.baby_steps import balanced_over_classes, nested_subsets, rows_in_order
from stillhouse.curricula.curriculum import ByPlateau, ByTime, ByValidation, Curriculum, CurriculumConfig
from stillhouse.curricula.difficulty import fuse, ranks, reciprocal_rank_fusion, rouge_l, score_difficulty
