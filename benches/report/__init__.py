"""Results as Markdown tables and a picture."""
