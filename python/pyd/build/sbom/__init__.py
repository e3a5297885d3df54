"""Software bills of materials: which packages the files of a stage hold.

    scan(directories) -> Packages -> spdx.document(...)

What package managers and compilers have left in the files is read and nothing is run. The files are those of
strangers: all of it is bounded, and what cannot be read is passed over.
"""
