"""The network: layers, lifting, field, backbone, quantisation and latent prior."""
