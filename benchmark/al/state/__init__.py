"""What is saved of a trial, and trainings that trials share."""
