"""Recipes, the training loop, checkpoints."""
