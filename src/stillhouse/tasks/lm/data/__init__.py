"""Text files as token ids on disk: a tokenizer, a corpus of three splits, windows. The configuration needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from stillhouse.core.config import configclass

if TYPE_CHECKING:
    from stillhouse.tasks.lm.data.corpus import Corpus


@configclass
class CorpusConfig:
    """Where the text is and how it is cut into tokens."""

    source: str = Field(
        min_length=1,
        description="folder with train.txt, valid.txt and test.txt, or one text file (cut 90 : 5 : 5 in order)",
    )
    tokenizer: str = Field(
        default="bpe:2048",
        min_length=1,
        description="bytes, bpe:N (N tokens, trained on the train split), a folder (tokenizer.json, or vocab.json with"
        " merges.txt), or a GGUF file",
    )
    most_bytes: int | None = Field(default=None, gt=0, description="of the train split, from its start [all]")
    most_test_bytes: int | None = Field(default=None, gt=0, description="of valid and test, from their start [all]")
    cache: str | None = Field(
        default=None, description="folder for token ids [STILLHOUSE_CACHE or ~/.cache/stillhouse, then text/KEY]"
    )

    def build(self) -> Corpus:
        """The corpus, tokenized on the first call and read from disk afterwards.

        Raises:
            InputError: a file is missing, empty or not UTF-8, or the tokenizer cannot be read.
        """
        from stillhouse.tasks.lm.data.corpus import load_corpus

        return load_corpus(self)
