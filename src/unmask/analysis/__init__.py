"""From a file to a verdict with evidence."""
