"""Pure values of the OCI image, distribution and runtime specifications: no I/O, strict parsing.

What `run` needs are Records (pyd/record.py): every command pays for each class that it imports.
"""
