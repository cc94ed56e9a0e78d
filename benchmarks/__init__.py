"""How fast regraft is, measured beside what else one would use: `make bench`, or `python -m benchmarks --help`."""
