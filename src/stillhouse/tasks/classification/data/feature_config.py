"""Texts as words and tables as thresholds and categories: the `data` of students that people read. No torch at module level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass

if TYPE_CHECKING:
    from stillhouse.tasks.classification.data.features import FeatureData


@configclass
class RowsConfig:
    """A file of rows, some of them labelled, and how they are split."""

    root: str = Field(
        min_length=1, description="the file; builtin:banking: messages of a bank's customers, in the package"
    )
    test: str | None = Field(
        default=None, min_length=1, description="a file of test rows; none: a share of the first is held out"
    )
    label_column: str = Field(default="label", min_length=1, description="column of the class; empty: no label")
    validation_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="share of the labelled rows that picks the best epoch"
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="share of the labelled rows held out for the test"
    )
    split_seed: int = Field(default=0, ge=0, lt=2**32, description="fixes which rows are held out and kept")
    train_limit: int | None = Field(default=None, gt=0, description="train on that many rows only")
    test_limit: int | None = Field(default=None, gt=0, description="test on that many rows only")
    label_limit: int | None = Field(
        default=None,
        gt=0,
        description="so many labels for training and validation together, classes in proportion, drawn anew for each seed; the "
        "other training rows are used without",
    )

    def build(self) -> FeatureData:
        """Read the file, split it, and take words, thresholds and categories from the training rows.

        Raises:
            InputError: the file is missing or damaged, or rows are not what they must be.
        """
        from stillhouse.tasks.classification.data.features import load_features

        return load_features(self)  # type: ignore[arg-type]


@configclass
class WordDataConfig(RowsConfig):
    """A file of labelled texts, of which the student sees how often each word of a vocabulary occurs."""

    name: Literal["words"] = Field(default="words", description="words: texts of a .csv, .tsv, .jsonl or .parquet file")
    text_column: str = Field(default="text", min_length=1, description="column of the text")
    ngrams: int = Field(default=2, ge=1, le=5, description="longest run of words that is a feature")
    max_words: int = Field(default=4000, ge=2, le=100_000, description="features, the commonest of the training texts")
    min_texts: int = Field(default=2, ge=1, description="training texts that a feature must be in")


@configclass
class TableDataConfig(RowsConfig):
    """A table of labelled rows: numbers become quantile thresholds, other columns one feature a value."""

    name: Literal["table"] = Field(default="table", description="table: rows of a .csv, .tsv, .jsonl or .parquet file")
    leave_out: tuple[str, ...] = Field(default=(), description="columns that are not read: numbers of rows, names")
    levels: int = Field(
        default=8, ge=1, le=200, description="thresholds of a number, at quantiles of the training rows"
    )
    categories: int = Field(default=32, ge=1, description="values of a category that are features, the commonest")
    min_rows: int = Field(default=5, ge=1, description="training rows that a feature must hold for, and not hold for")
