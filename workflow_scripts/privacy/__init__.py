"""Noise, its accounting, and the boundary around sensitive data.

`gaussian` holds the mechanism (noise and event from one object) and its closed form, `accountant`
composes events, `journal` makes releases write-once, `zones` says who may read what.
"""
