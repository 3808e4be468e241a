"""`python -m stillhouse` is the `stillhouse` command."""

from stillhouse.cli.main import program

if __name__ == "__main__":
    raise SystemExit(program())
