"""`python -m benchmark` is the `albench` command."""

from benchmark.cli import main

if __name__ == "__main__":
    main()
