"""Worked examples that the documentation prints in full."""
