"""The `unmask` command, one file per verb."""
