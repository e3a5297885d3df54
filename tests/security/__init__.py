"""Attacks that hit container engines, each with a positive control: see docs/security.md."""
