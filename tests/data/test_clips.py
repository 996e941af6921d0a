"""A clip's sound without its pictures, from data sets that offer more and less."""

import torch

from ecmvae.data.clips import ClipSource, SoundedClips, sound_only
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.types import AVClip


class Pictureless:
    """Sounded clips that must not be drawn."""

    num_frames, hop_seconds = 3, 0.5

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> AVClip:
        raise AssertionError("the pictures were drawn")

    def name(self, index: int) -> str:
        return f"clip {index}"

    def classes(self, index: int) -> tuple[str, ...]:
        return ()

    def waveform(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((8,), float(index)), 8000


def test_pictures_are_not_drawn_where_the_sound_can_be_had_alone() -> None:
    clip = sound_only(Pictureless(), 1)
    assert (clip.name, clip.sample_rate, clip.hop_seconds) == ("clip 1", 8000, 0.5)
    assert clip.frames.shape == (3, 3, 0, 0)
    assert clip.waveform.tolist() == [1.0] * 8


def test_fields_of_a_data_set_of_its_own_come_first() -> None:
    class Own(Pictureless):
        def sound_fields(self, index: int) -> dict[str, object]:
            return {"waveform": torch.ones(4), "sample_rate": 4000, "hop_seconds": 0.25}

    clip = sound_only(Own(), 0)
    assert (clip.sample_rate, clip.hop_seconds, len(clip.waveform)) == (4000, 0.25, 4)


def test_a_plain_list_of_clips_is_read_whole() -> None:
    whole = SyntheticAVS("s4", length=1, size=32)[0]
    assert isinstance([whole], ClipSource)
    assert not isinstance([whole], SoundedClips)
    assert sound_only([whole], 0) is whole


def test_scenes_sound_the_same_without_their_pictures() -> None:
    scenes = SyntheticAVS("ms3", length=2, size=32, seed=3)
    assert isinstance(scenes, SoundedClips)
    assert torch.equal(sound_only(scenes, 1).waveform, scenes[1].waveform)
