"""`python -m innvc`."""

from innvc.cli import main

if __name__ == "__main__":
    main()
