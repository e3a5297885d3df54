"""Dockerfiles made by a grammar and then damaged, and what pyd reads in them: see campaign.py."""
