"""The running side of a container: its OCI spec, its bundle, its task and what is read from it."""
