"""The class table and the licence statements of the packages."""

from collections import Counter

import pytest

from ecmvae.data.collage.table import CollageTable, Licence, find_licence, packaged_table
from ecmvae.errors import UserError

TABLE = """
classes:
  dog:
    images: [tuxpaint:animals/dog.png]
    held_out_sounds: ['opensfx:7']
others:
  rain:
    known: ['opensfx:8']
    held_out: [gcompris:memory-sound/drizzle.ogg]
backgrounds:
  val: [gcompris:explore_monuments/usa/navajo.webp]
"""


class TestTable:
    def test_entries(self):
        found = [
            (e.kind, e.category, e.pool, e.package, e.path, e.id)
            for e in CollageTable.parse(TABLE, "t").entries
        ]
        assert found == [
            ("image", "dog", "known", "tuxpaint", "animals/dog.png", "tuxpaint_dog"),
            ("sound", "dog", "held_out", "opensfx", "7", "opensfx_7"),
            ("other", "rain", "known", "opensfx", "8", "opensfx_8"),
            (
                "other",
                "rain",
                "held_out",
                "gcompris",
                "memory-sound/drizzle.ogg",
                "gcompris_drizzle",
            ),
            (
                "background",
                "",
                "val",
                "gcompris",
                "explore_monuments/usa/navajo.webp",
                "gcompris_navajo",
            ),
        ]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (TABLE.replace("opensfx:7", "7"), "not PACKAGE:PATH"),
            (TABLE.replace("opensfx:", "web:"), "not PACKAGE:PATH"),
            (
                TABLE.replace(
                    "[tuxpaint:animals/dog.png]", "[tuxpaint:a/dog.png, tuxpaint:b/dog.png]"
                ),
                "twice",
            ),
            (TABLE.replace("images", "pictures"), "not a class table"),
            (TABLE.replace("known: ", "seen: "), "not a class table"),
            ("classes: [", "t is not valid YAML"),
            ("", "not a class table"),
        ],
    )
    def test_mistakes_are_named(self, text, message):
        with pytest.raises(UserError, match=message):
            CollageTable.parse(text, "t")


class TestPackagedTable:
    """The table that ships keeps the promises that the splits rest on."""

    def test_nothing_is_both_known_and_held_out_or_in_two_splits(self):
        counts = Counter(
            (entry.kind, entry.package, entry.path) for entry in packaged_table().entries
        )
        assert max(counts.values()) == 1

    def test_every_class_can_be_trained_and_enough_are_unseen(self):
        pools = Counter(
            (entry.category, entry.kind, entry.pool) for entry in packaged_table().entries
        )
        classes = {category for category, kind, _ in pools if category and kind == "image"}
        assert classes == {category for category, kind, _ in pools if kind == "sound"}
        assert len(classes) >= 30
        assert all(
            pools[name, "image", "known"] and pools[name, "sound", "known"] for name in classes
        )
        unseen = [
            name
            for name in classes
            if pools[name, "image", "held_out"] and pools[name, "sound", "held_out"]
        ]
        assert len(unseen) >= 10

    def test_sounds_of_no_class(self):
        others = [entry for entry in packaged_table().entries if entry.kind == "other"]
        pools = Counter((entry.category, entry.pool) for entry in others)
        assert all(
            pools[sort, "known"] and pools[sort, "held_out"]
            for sort in {entry.category for entry in others}
        )
        assert pools["speech", "known"] >= 20
        assert pools["music", "known"] >= 20
        recordings = {
            (entry.package, entry.path)
            for entry in packaged_table().entries
            if entry.kind == "sound"
        }
        assert not recordings & {(entry.package, entry.path) for entry in others}

    def test_no_voice_is_both_known_and_held_out(self):
        """The spoken descriptions end in their language; each language has speakers of its own."""
        spoken = [
            e for e in packaged_table().entries if e.kind == "other" and e.category == "speech"
        ]
        languages = {
            p: {e.path.rpartition("_")[2] for e in spoken if e.pool == p}
            for p in ("known", "held_out")
        }
        assert not languages["known"] & languages["held_out"]

    def test_backgrounds(self):
        counts = Counter(
            entry.pool for entry in packaged_table().entries if entry.kind == "background"
        )
        assert counts["train"] >= 40
        assert counts["val"] >= 5
        assert counts["test"] >= 15


GPL = Licence("GPLv3", "F")


class TestLicence:
    DEBIAN = """Format: x

Files: *
Copyright: 2014 A <a@example.org>
           2015 B
License: GPL-3+

Files: src/images/*
       src/sounds/*.ogg
Copyright: C
License: CC0-1.0
Comment: found

License: GPL-3+
 long text
"""
    README = "Copyright: D. E.\nLicense: Public Domain\nSource: somewhere\nFiles:\nusa/navajo.webp\nusa/other.webp\n"

    @pytest.mark.parametrize(
        ("statement", "path", "expected"),
        [
            (DEBIAN, "src/main.c", Licence("GPL-3+", "2014 A <a@example.org> 2015 B")),
            (DEBIAN, "src/sounds/dog.ogg", Licence("CC0-1.0", "C")),
            (DEBIAN, "src/images/dog.png", Licence("CC0-1.0", "C")),
            (README, "usa/navajo.webp", Licence("Public Domain", "D. E.")),
            (README, "usa/navajo.jpg", Licence("Public Domain", "D. E.")),
            (README, "usa/nobody.webp", None),
            (
                "Copyright: F\nLicense: GPLv3\nFiles:\ndog.ogg\n\n"
                + README.replace("usa/navajo", "dog"),
                "dog.ogg",
                GPL,
            ),
        ],
    )
    def test_last_match_counts(self, statement, path, expected):
        assert find_licence(statement, path) == expected
