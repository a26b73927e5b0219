"""The self-supervised stage before the first cycle."""
