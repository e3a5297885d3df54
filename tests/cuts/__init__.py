"""Pulls that are cut and pullers that are killed: how much is fetched twice, and what is left behind."""
