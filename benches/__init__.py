"""Measurements against other engines, in turn and in one run: `python -m benches --help`."""
