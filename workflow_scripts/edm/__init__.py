"""Diffusion models in the parametrisation of EDM (arXiv 2206.00364).

`network` is the U-Net, `denoiser` its preconditioning and loss, `sampling` the way from noise to
images, `training` the training without privacy, `pipeline` the form in which a model is stored.
"""
