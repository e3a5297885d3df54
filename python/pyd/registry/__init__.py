"""The client side of the distribution spec. Nothing here is imported by commands that do not talk to a
registry.
"""
