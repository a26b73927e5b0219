"""Named random streams and counter-based draws."""
