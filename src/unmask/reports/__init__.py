"""Figures, tables and self-contained HTML pages."""
