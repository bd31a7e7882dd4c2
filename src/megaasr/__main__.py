"""`python -m megaasr` is `mega-asr`."""

from megaasr.cli.main import main

if __name__ == "__main__":
    main()
