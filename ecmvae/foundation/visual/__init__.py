"""Visual backbones and segmenters of others, a network a file."""
