"""The colours behind the words."""

from __future__ import annotations

from collections.abc import Mapping

from ecmvae.data.faces.pen import Color

SKIN: Mapping[str, Color] = {
    "Pale": (250, 221, 203),
    "Light": (240, 196, 165),
    "Tanned": (220, 160, 112),
    "Brown": (170, 112, 74),
    "DarkBrown": (112, 72, 52),
}
HAIR: Mapping[str, Color] = {
    "Black": (38, 32, 36),
    "Brown": (106, 68, 42),
    "Blonde": (222, 184, 104),
    "Red": (176, 70, 34),
    "SilverGray": (172, 176, 184),
    "PastelPink": (242, 158, 178),
}
CLOTHES: Mapping[str, Color] = {
    "Black": (44, 46, 54),
    "Blue01": (88, 144, 208),
    "Gray01": (136, 142, 152),
    "PastelGreen": (158, 214, 160),
    "PastelOrange": (250, 190, 130),
    "Pink": (240, 90, 150),
    "Red": (210, 52, 56),
    "White": (240, 240, 244),
}
EYE_WHITE: Color = (250, 250, 250)
IRIS: Color = (70, 62, 70)
LIPS: Color = (172, 70, 76)
MOUTH: Color = (96, 26, 34)
TEETH: Color = (250, 250, 246)
TONGUE: Color = (222, 104, 110)
FRAME: Color = (40, 38, 44)
LENS: Color = (28, 30, 40)
SHIRT_BELOW: Color = (122, 138, 164)
"""Of the shirt under an overall."""
