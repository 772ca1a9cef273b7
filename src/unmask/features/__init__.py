"""The feature laboratory: what forensic evidence there is, each piece a small typed unit."""
