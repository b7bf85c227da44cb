"""`python -m hfprune`: the same as the `hfprune` command."""

from hfprune.commands import main

if __name__ == "__main__":
    main()
