"""`python -m safetyclf` and the `safetyclf` command."""

from ._cli import main

if __name__ == "__main__":
    raise SystemExit(main())
