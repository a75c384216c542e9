"""What follows from a report's figures, one file a subject."""
