"""Naive Bayes on the lectures' table of faces, with every row drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from gallery_classic import FACES
from matplotlib.figure import Figure

from ecmvae.data.faces.draw import draw_face
from ecmvae.data.faces.look import Look
from ecmvae.vae.classic import NaiveBayes
from ecmvae.vae.plots import figure

FIRST_TEN = """
Round White ShirtScoopNeck Red ShortHairShortFlat
Round White Overall SilverGray ShortHairFrizzle
Sunglasses White ShirtScoopNeck Blonde ShortHairShortFlat
Round White ShirtScoopNeck Red LongHairStraight
Round White Overall SilverGray NoHair
Blank White Overall Black LongHairStraight
Sunglasses White Overall SilverGray LongHairStraight
Round White ShirtScoopNeck SilverGray ShortHairShortFlat
Round Pink Hoodie SilverGray LongHairStraight
Round PastelOrange ShirtScoopNeck Blonde LongHairStraight
"""
"""The first ten observations that the lectures print: accessories, clothing colour, clothing, hair colour, top."""

PRINTED = ("accessories", "clothingColor", "clothingType", "hairColor", "topType")
_SPELLING = {"SilverGray": "SilverGrey", "Gray01": "Grey01"}
"""A word of a `Look` -> as the lectures' tables of counts spell it."""


def observations() -> list[dict[str, str]]:
    """The ten printed rows, feature -> value."""
    return [dict(zip(PRINTED, line.split(), strict=True)) for line in FIRST_TEN.split("\n") if line]


def new_looks(count: int = 10, seed: int = 0) -> list[dict[str, str]]:
    """Rows drawn from the fitted model."""
    rows, _ = _model().sample(count, np.random.default_rng(seed))
    words = {theirs: ours for ours, theirs in _SPELLING.items()}
    values = [list(counts) for counts in FACES.values()]
    return [
        {
            feature: words.get(values[k][code], values[k][code])
            for k, (feature, code) in enumerate(zip(FACES, row, strict=True))
        }
        for row in rows
    ]


def probabilities(rows: list[dict[str, str]]) -> list[float]:
    """p(x) of rows under the model of the 50 faces."""
    codes = [
        [
            list(counts).index(_SPELLING.get(row[feature], row[feature]))
            for feature, counts in FACES.items()
        ]
        for row in rows
    ]
    return [math.exp(value) for value in _model().log_prob(codes)]


def look_of(row: dict[str, str]) -> Look:
    """The face of a row; what the table does not say is the same in all."""
    return Look(
        accessories=row["accessories"],
        clothes_color=row["clothingColor"],
        top=row["clothingType"],
        hair_color=row["hairColor"],
        hair=row["topType"],
        smile=0.6,
    )


def drawn(rows: list[dict[str, str]], title: str) -> Figure:
    """Rows as faces, two by five, each with its values and its probability."""
    sheet, axes = figure(2, 5, size=2.5)
    for number, (axis, row, p) in enumerate(zip(axes.flat, rows, probabilities(rows), strict=True)):
        axis.imshow(draw_face(look_of(row), size=192))
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(f"{number}", fontsize=9, pad=3)
        values = [row[feature] for feature in PRINTED]
        text = f"{values[0]}, {values[1]}\n{values[2]}, {values[3]}\n{values[4]}\np = {p:.5f}"
        axis.set_xlabel(text, fontsize=7.5)
    sheet.suptitle(title, fontsize=11)
    return sheet


def table(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Rows with their probabilities, for the numbers."""
    return [{**row, "p": round(p, 6)} for row, p in zip(rows, probabilities(rows), strict=True)]


def factor_sheet(size: int = 96) -> tuple[torch.Tensor, list[str]]:
    """One row of pictures a factor, the others kept: (rows, columns, 3, H, W) and the rows' names."""
    plain = {"smile": 0.3, "hair_color": "Brown"}
    smiles, turns = (
        [-1.0, -0.6, -0.2, 0.2, 0.6, 0.8, 1.0],
        [-1.0, -0.66, -0.33, 0.0, 0.33, 0.66, 1.0],
    )
    rows: dict[str, list[dict[str, Any]]] = {
        "skin": [{"skin": word} for word in ("Pale", "Light", "Tanned", "Brown", "DarkBrown", "Pale", "Tanned")],
        "hair": [{"hair": word} for word in FACES["topType"]],
        "hair colour": [
            {"hair_color": word, "hair": "LongHairStraight"}
            for word in ("Black", "Brown", "Blonde", "Red", "SilverGray", "PastelPink", "Black")
        ],
        "top and its colour": [
            {"top": top, "clothes_color": color}
            for top, color in (
                ("Hoodie", "Red"), ("Overall", "PastelGreen"), ("ShirtScoopNeck", "White"), ("ShirtVNeck", "Pink"),
                ("Hoodie", "Gray01"), ("Overall", "Blue01"), ("ShirtVNeck", "Black"),
            )
        ],
        "glasses, hat, moustache": [
            {}, {"accessories": "Round"}, {"accessories": "Sunglasses"}, {"hat": True}, {"mustache": True},
            {"hat": True, "accessories": "Round"}, {"mustache": True, "accessories": "Sunglasses", "hat": True},
        ],
        "eyes": [{"eyes": word} for word in ("Default", "Side", "Happy", "Squint", "Surprised", "Wink", "Default")],
        "smile": [{"smile": value} for value in smiles],
        "smile, mouth open": [{"smile": value, "mouth_open": True} for value in smiles],
        "pose": [{"turn": value} for value in turns],
    }  # fmt: skip
    pictures = [
        [draw_face(Look(**{**plain, **change}), size=size) for change in row]
        for row in rows.values()
    ]
    stacked = torch.from_numpy(np.stack([np.stack(row) for row in pictures])).permute(0, 1, 4, 2, 3)
    return stacked.float() / 255, list(rows)


def _model() -> NaiveBayes:
    """The model of the lectures' 50 faces, by maximum likelihood, from their tables of counts."""
    rows = np.stack(
        [np.repeat(np.arange(len(counts)), list(counts.values())) for counts in FACES.values()], 1
    )
    return NaiveBayes().fit(rows, categories=[len(counts) for counts in FACES.values()])
