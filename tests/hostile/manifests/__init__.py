"""Manifests, indexes and configs made wrong in every way, and what pyd reads in them: see campaign.py."""
