"""WikiText's articles, sentence by sentence, a line each: what `embedding_evidence.sh` captures beside STS-B and SST-2.

    python benchmarks/wikitext_sentences.py wikitext-2/train.txt > wiki.txt

End marks stand alone in WikiText's form, by which they differ from those of abbreviations (Mr. Smith); headings (= ... =) are left
out, " @-@ " and the like joined, sentences with more than one <unk> dropped.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

END = re.compile(r"""(?<= [.!?])( ["”)])? (?=\S)""")


def sentences(text: str) -> Iterator[str]:
    for line in map(str.strip, text.splitlines()):
        if not line or (line.startswith("= ") and line.endswith(" =")):
            continue
        line = re.sub(r" @([-,.])@ ", r"\1", line)
        start = 0
        for mark in END.finditer(line):
            # a straight quotation mark closes only what was opened
            opens = mark[1] == ' "' and line.count('"', 0, mark.start()) % 2 == 0
            end = mark.start() if opens else mark.end()
            yield line[start:end].strip()
            start = end
        yield line[start:].strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    for sentence in sentences(parser.parse_args().file.read_text(encoding="utf-8")):
        if sentence and sentence.count("<unk>") < 2:
            print(sentence)
