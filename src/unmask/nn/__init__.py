"""Network bricks used by two or more detector families."""
