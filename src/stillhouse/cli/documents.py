"""`stillhouse documents`: a folder in which the commands and snippets of the five documents find the files that they call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import Parser

ABOUT = (
    "Lay out the files that the five documents call, so that their commands and snippets run in that folder as printed."
)
EPILOG = """examples:
  stillhouse documents paper
  stillhouse documents .
  stillhouse documents ~/five-documents

then, in that folder:
  source SOURCE.THIS
  python3 python/fptm_ste/tests/run_mnist_equiv.py --dataset mnist --models transformer --epochs 3
  python training_script.py --config training/s4_ssm_complex.yaml
  STILLHOUSE_DOCUMENTS_SIZE=tiny ...           rows and epochs cut, to see that all is wired

which of the documents' commands run, and why others cannot: docs/reproduction.md
"""


def main(arguments: Sequence[str]) -> int:
    """Write the files; those that are there are kept."""
    parser = Parser(prog="stillhouse documents", description=ABOUT, epilog=EPILOG)
    parser.add_argument("folder", type=Path, metavar="DIR", help="is made; files that are there are kept")
    options = parser.parse(arguments)
    from stillhouse.documents.files import lay_out

    for name in lay_out(options.folder):
        print(f"kept {options.folder / name}, which differs from what would be written")
    print(f"next: cd {options.folder} && source SOURCE.THIS")
    return 0
