"""`python -m stillhouse` is the `stillhouse` command."""

from stillhouse.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
