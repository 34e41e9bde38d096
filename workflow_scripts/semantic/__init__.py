"""Cheap noisy questions about the sensitive images, asked before a model is trained on them.

PrivImage (arXiv 2311.12850) asks which public classes they look like (`query`, the mechanism, by a
public `classifier`) and trains on those alone (`selection`). DP-FETA (arXiv 2504.01395) asks for
images of their middle (`central_images`). Only the two mechanisms see sensitive data.
"""
