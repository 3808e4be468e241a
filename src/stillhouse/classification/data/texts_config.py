"""Which labelled texts, how they become tokens and splits: the `data` part of a run on texts. No torch at module level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass

if TYPE_CHECKING:
    from stillhouse.classification.data.labelled_texts import TextData


@configclass
class TextDataConfig:
    """A file of labelled texts: a row a text, .csv or .tsv with a head, or .jsonl."""

    name: Literal["texts"] = Field(default="texts", description="texts: rows of a .csv, .tsv or .jsonl file")
    root: str = Field(min_length=1, description="the file")
    text_column: str = Field(default="text", min_length=1, description="column, or key, of the text")
    label_column: str = Field(default="label", min_length=1, description="column, or key, of the class")
    tokenizer: str | None = Field(
        default=None, min_length=1, description="tokenizer.json (of the package tokenizers); none: words, hashed"
    )
    vocabulary: int = Field(default=4096, ge=2, description="of hashed words: how many numbers they share")
    length: int = Field(default=64, gt=0, description="tokens of a text; longer ones are cut, shorter ones padded")
    validation_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="share of the rows that picks the best epoch"
    )
    test_fraction: float = Field(default=0.2, gt=0, lt=1, description="share of the rows held out for the test")
    split_seed: int = Field(default=0, ge=0, lt=2**32, description="fixes which rows are held out and kept")
    train_limit: int | None = Field(default=None, gt=0, description="train on that many texts only")
    test_limit: int | None = Field(default=None, gt=0, description="test on that many texts only")

    def build(self) -> TextData:
        """Read the file, tokenize and split it.

        Raises:
            InputError: the file is missing or damaged, or rows are not what they must be.
        """
        from stillhouse.classification.data.labelled_texts import load_texts

        return load_texts(self)
