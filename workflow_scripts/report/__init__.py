"""Tables, figures and the HTML page of an experiment.

The parts read the released and the evaluation zone only: private images are never pictured, and
the row ``real`` is a number.
"""
