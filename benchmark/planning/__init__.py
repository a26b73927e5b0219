"""What is to be run, and what it costs."""
