"""Pure values of the OCI image, distribution and runtime specifications: no I/O, strict parsing."""
