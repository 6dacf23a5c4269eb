"""`python -m metarl` is the command `metarl`."""

from metarl.cli.entry import main

if __name__ == "__main__":
    main()
