"""The former home of VGGish, for one release: import it from `ecmvae.audio.vggish`."""

from ecmvae.audio.vggish import VGGish as VGGish
