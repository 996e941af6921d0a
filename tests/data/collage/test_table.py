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
backgrounds:
  val: [gcompris:explore_monuments/usa/navajo.webp]
"""


class TestTable:
    def test_entries(self):
        found = [(e.kind, e.category, e.pool, e.package, e.path, e.id) for e in CollageTable.parse(TABLE, "t").entries]
        assert found == [
            ("image", "dog", "known", "tuxpaint", "animals/dog.png", "tuxpaint_dog"),
            ("sound", "dog", "held_out", "opensfx", "7", "opensfx_7"),
            ("background", "", "val", "gcompris", "explore_monuments/usa/navajo.webp", "gcompris_navajo"),
        ]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (TABLE.replace("opensfx:7", "7"), "not PACKAGE:PATH"),
            (TABLE.replace("opensfx:", "web:"), "not PACKAGE:PATH"),
            (TABLE.replace("[tuxpaint:animals/dog.png]", "[tuxpaint:a/dog.png, tuxpaint:b/dog.png]"), "twice"),
            (TABLE.replace("images", "pictures"), "not a class table"),
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
        counts = Counter((entry.kind, entry.package, entry.path) for entry in packaged_table().entries)
        assert max(counts.values()) == 1

    def test_every_class_can_be_trained_and_enough_are_unseen(self):
        pools = Counter((entry.category, entry.kind, entry.pool) for entry in packaged_table().entries)
        classes = {category for category, _, _ in pools if category}
        assert len(classes) >= 30
        assert all(pools[name, "image", "known"] and pools[name, "sound", "known"] for name in classes)
        unseen = [name for name in classes if pools[name, "image", "held_out"] and pools[name, "sound", "held_out"]]
        assert len(unseen) >= 10

    def test_backgrounds(self):
        counts = Counter(entry.pool for entry in packaged_table().entries if entry.kind == "background")
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
            ("Copyright: F\nLicense: GPLv3\nFiles:\ndog.ogg\n\n" + README.replace("usa/navajo", "dog"), "dog.ogg", GPL),
        ],
    )
    def test_last_match_counts(self, statement, path, expected):
        assert find_licence(statement, path) == expected
