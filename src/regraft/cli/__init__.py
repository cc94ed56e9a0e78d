"""The command line: parsing, printing, exit codes, and nothing else."""
