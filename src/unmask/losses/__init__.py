"""Label, mask and embedding losses and their weighted sum."""
