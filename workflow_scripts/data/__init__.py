"""Data sets: reading them in, checking what was declared, splitting by a public seed."""
