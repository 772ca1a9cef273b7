"""Running a detector over data and writing what it scored."""
