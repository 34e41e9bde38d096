"""DP-SGD (arXiv 1607.00133) for diffusion models (DPDM, arXiv 2210.09929).

`mechanism` holds what privacy rests on, in one object; `per_sample` computes the gradients that it
clips; `training` runs the steps; `checkpoint` lets an interrupted training go on.
"""
