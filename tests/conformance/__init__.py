"""Conformance: the validation programs of the OCI runtime-tools (`python -m tests.conformance`), and seccomp
filters compared with Docker's profile as libseccomp compiles it.
"""
