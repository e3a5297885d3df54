"""What the tests share: a world of their own, the pyd command, a registry, waiting."""
