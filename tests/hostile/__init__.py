"""Hostile input for everything that takes an image in: registries, manifests, tars, Dockerfiles.

Each kind has a small run in pytest and a large one as a command:

    python -m tests.hostile manifests --count 10000
    python -m tests.hostile dockerfiles --count 10000
    python -m tests.hostile tars --count 50000
    python -m tests.hostile registry

What goes wrong is named with its seed, and `--seed N --count 1` does it again.
"""
