"""What a run leaves behind: events, records, locks, and the environment it ran in."""
