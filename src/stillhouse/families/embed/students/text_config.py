"""The text student's knobs. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stillhouse.core.config import configclass

FORMAT, WEIGHTS = "stillhouse-text-embedder-1", "text_student.safetensors"  # of a saved text student
VOTES = ("votes", "rarity")  # arrays of its votes


@configclass
class TextStudentConfig:
    """A student that reads a text as a bag of tokens: a table, a weighted mean, a small network."""

    tokens: Literal["pieces", "hash"] = Field(
        default="pieces",
        description="pieces: the teacher's tokenizer; hash: words and letter groups, no file needed",
    )
    buckets: int = Field(default=1 << 15, gt=0, description="of tokens hash: size of the table")
    letters: bool = Field(default=True, description="of tokens hash: groups of 3 to 5 letters beside whole words")
    width: int = Field(default=128, gt=0, description="numbers a token")
    hidden: int = Field(default=128, ge=0, description="width of the layer beside the linear map; 0: none")
    start: Literal["teacher", "random"] = Field(
        default="teacher", description="first table: the teacher's input embeddings (PCA to width), or random"
    )
    votes: bool = Field(
        default=True,
        description="also keep what each word, pair of words and group of letters alone adds to a code: a ridge regression, as "
        "one on TF-IDF is",
    )
    vote_buckets: int = Field(
        default=1 << 17,
        gt=1,
        multiple_of=2,
        description="of the votes: places of the hashed words; 2 bytes a number of a code each",
    )
    rarity: float = Field(
        default=1e-3, gt=0, description="a of the first token weights a / (a + p), p the token's share of all tokens"
    )
    neighbor_weight: float = Field(
        default=0.1, ge=0, description="weight of the neighbour term beside the squared error"
    )
    perplexity: float = Field(default=10.0, gt=1, description="effective number of neighbours in the neighbour term")
    token_dropout: float = Field(default=0.0, ge=0, lt=1, description="share of the tokens left out while training")
    validation_share: float = Field(default=0.1, gt=0, lt=1, description="of the texts, to choose the best epoch by")
    half: bool = Field(default=True, description="store the table in float16")

    def __post_init__(self) -> None:
        if self.tokens == "hash" and self.start == "teacher":
            raise ValueError("start: hashed words have no place in the teacher's table; take start: random")
