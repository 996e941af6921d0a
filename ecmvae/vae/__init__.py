"""Base autoencoders and variational autoencoders: knows nothing of audio, video or masks.

Every value is in nats per sample: summed over latent and data dimensions, averaged over the batch only at the end.
"""
