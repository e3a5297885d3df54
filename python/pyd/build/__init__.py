"""Builds: a Dockerfile, or the same from Python, becomes an image; only what changed is done again."""
