"""`python -m regraft`: the same as `regraft`."""

from regraft.cli.main import run

if __name__ == "__main__":
    run()
