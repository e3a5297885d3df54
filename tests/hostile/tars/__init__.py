"""Archives made by a grammar and then damaged, read by pyd, by GNU tar and by Python: see campaign.py."""
