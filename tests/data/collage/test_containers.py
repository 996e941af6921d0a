"""Readers of Qt resources and OpenTTD sound sets, on containers written here from their formats' descriptions."""

import struct

import pytest
from small_containers import ZLIB, ZSTD, qt_resources, sound_set

from ecmvae.data.collage.containers import QtResources, read_sound_set
from ecmvae.errors import UserError

FILES = {"a.txt": b"plain", "deep/b.txt": b"zipped " * 50, "deep/c.txt": b"zstd " * 50}
FLAGS = {"deep/b.txt": ZLIB, "deep/c.txt": ZSTD}


class TestQtResources:
    @pytest.mark.parametrize("version", [1, 2, 3])
    def test_files_come_out_whole(self, tmp_path, version):
        (tmp_path / "x.rcc").write_bytes(qt_resources(FILES, version, FLAGS))
        held = QtResources(tmp_path / "x.rcc")
        assert held.names() == sorted(FILES)
        assert {name: held.read(name) for name in held.names()} == FILES

    def test_no_such_file_inside(self, tmp_path):
        (tmp_path / "x.rcc").write_bytes(qt_resources(FILES, 2, FLAGS))
        with pytest.raises(UserError, match="does not contain 'z'"):
            QtResources(tmp_path / "x.rcc").read("z")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is not a Qt resource"),
            (b"RIFF" + bytes(40), "is not a Qt resource"),
            (b"qres" + struct.pack(">IIII", 9, 20, 20, 20), "version 9"),
            (b"qres" + struct.pack(">IIII", 2, 9999, 20, 20), "points outside"),
            # A folder that is its own child.
            (
                b"qres"
                + struct.pack(">IIII", 1, 20, 34, 34)
                + struct.pack(">IHII", 0, 2, 1, 0)
                + bytes(12),
                "without end",
            ),
            (
                b"qres"
                + struct.pack(">IIII", 1, 20, 34, 34)
                + struct.pack(">IHII", 0, 2, 10**6, 0),
                "do not fit",
            ),
        ],
    )
    def test_damage_is_the_users_to_mend(self, tmp_path, content, message):
        (tmp_path / "x.rcc").write_bytes(content)
        with pytest.raises(UserError, match=message):
            QtResources(tmp_path / "x.rcc")

    def test_cut_and_flipped_bytes_never_surprise(self, tmp_path):
        """Wherever the file is cut or a byte is turned over, it reads or says UserError."""
        whole = qt_resources(FILES, 2, FLAGS)
        path = tmp_path / "x.rcc"
        for place in range(len(whole)):
            for content in (
                whole[:place],
                whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :],
            ):
                path.write_bytes(content)
                try:
                    held = QtResources(path)
                    for name in held.names():
                        held.read(name)
                except UserError:
                    pass

    def test_missing_file(self, tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            QtResources(tmp_path / "none.rcc")


class TestSoundSet:
    def test_sounds_come_out_whole(self, tmp_path):
        sounds = [("Dog. License: CC0", b"RIFF1234"), ("", b"RIFFx")]
        (tmp_path / "x.cat").write_bytes(sound_set(sounds))
        assert read_sound_set(tmp_path / "x.cat") == sounds

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"abc", "only 3 bytes"),
            (
                sound_set([("a", b"RIFF")], mark=0),
                "not an OpenTTD sound set, or has the old format",
            ),
            (struct.pack("<II", 1 << 31 | 12, 0), "does not fit"),
            (struct.pack("<II", 1 << 31 | 8, 4) + b"\x01\0OggS", "at sound 0"),
            (sound_set([("a", b"RIFFRIFF")])[:-3], "at sound 0"),
        ],
    )
    def test_damage_is_the_users_to_mend(self, tmp_path, content, message):
        (tmp_path / "x.cat").write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_sound_set(tmp_path / "x.cat")
