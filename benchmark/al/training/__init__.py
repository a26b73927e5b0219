"""One training step and one cycle of training."""
