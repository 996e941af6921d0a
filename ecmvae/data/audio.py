"""The former home of the sound functions, for one release: import them from `ecmvae.audio`."""

from ecmvae.audio.io import read_wave as read_wave
from ecmvae.audio.io import resample as resample
from ecmvae.audio.io import write_wave as write_wave
from ecmvae.audio.vggish import log_mel_patches as log_mel_patches
