"""The former home of the visual and audio backbones: an alias of `ecmvae.audio` for one release."""
