"""Videos in and out: the only door to PyAV, which is imported when a file is opened and not before.

Every time is in seconds from the first picture. Sound for a model is mono float32 in [-1, 1], at 16 kHz by default.
"""

from ecmvae.data.video.clips import RawClip, read_clip
from ecmvae.data.video.container import AudioTrack, VideoInfo, probe
from ecmvae.data.video.frames import OpenVideo, SourceFrame, stream_frames
from ecmvae.data.video.sound import SAMPLE_RATE, Sound, SoundArray, SoundReader
from ecmvae.data.video.writing import VideoWriter, missing_encoders, write_video
from ecmvae.files import show_path

__all__ = [
    "SAMPLE_RATE",
    "AudioTrack",
    "OpenVideo",
    "RawClip",
    "Sound",
    "SoundArray",
    "SoundReader",
    "SourceFrame",
    "VideoInfo",
    "VideoWriter",
    "missing_encoders",
    "probe",
    "read_clip",
    "show_path",
    "stream_frames",
    "write_video",
]
