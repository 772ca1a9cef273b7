"""Detector designs, one folder per family, and the table that names them."""
