"""Mistakes that a user can make or must know of, said in one line and without a traceback."""


class Problem(Exception):
    """The message names the file, key or image, what was found and what is allowed."""
