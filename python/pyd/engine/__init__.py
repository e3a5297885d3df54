"""The use-cases. Every front door (command line, Python, daemon) calls these and nothing below."""
