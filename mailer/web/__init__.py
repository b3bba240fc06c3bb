"""HTTP in: applications hand over mail, and ask what became of it."""
