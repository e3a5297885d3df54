"""Images made from Debian's packages, so that the suite needs no public registry."""
