"""Pure values of the OCI image, distribution and runtime specifications: no I/O, strict parsing.

What `run` needs are NamedTuples: as frozen and slotted as dataclasses, but a class is made in a fifth of the
time, and every command pays for each class that it imports.
"""
