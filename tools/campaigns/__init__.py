"""The campaigns of `tools/stress.py`: each attacks one side of ecmvae, from a seed."""
