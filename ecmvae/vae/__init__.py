"""Base autoencoders and variational autoencoders: knows nothing of audio, video or masks.

Every value is in nats per sample: summed over latent and data dimensions, averaged over the batch only at the end.
Arguments without a meaning (a count below 1, a negative weight, a table that does not sum to 1, shapes or widths that
do not fit) are a `ValueError` whose message says what to do.
"""
