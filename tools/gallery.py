"""Train the base models for minutes on a CPU and write docs/gallery: pictures, numbers, and the command behind each.

python tools/gallery.py                 every section
python tools/gallery.py manifold beta   only these
python tools/gallery.py --index         only rewrite index.md from numbers.json

Weights are kept in runs/gallery, so a second run only draws.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import gallery_analyses
import gallery_classic
import gallery_lectures
import gallery_models
import torch
from gallery_store import Gallery

SECTIONS = {
    "naive_bayes": (gallery_classic.naive_bayes, "Naive Bayes: new faces by counting"),
    "pca": (gallery_classic.pca, "PCA: five points, one number each"),
    "vae": (gallery_models.vae, "The VAE of the lectures on MNIST"),
    "latent_scatter": (gallery_models.latent_scatter, "Latent space: autoencoder and VAE"),
    "manifold": (gallery_models.manifold, "The manifold of digits"),
    "morphs": (gallery_models.morphs, "Morphs"),
    "denoising": (gallery_models.denoising, "Denoising"),
    "samples": (gallery_models.samples, "Sampling: box of an autoencoder, prior of a VAE"),
    "conditional": (gallery_models.conditional, "Digits to order"),
    "beta": (gallery_models.beta, "A heavier KL"),
    "multimodal": (gallery_models.multimodal, "Image and class, each from the other"),
    "fashion": (gallery_models.fashion, "The Keras convolutional VAE on Fashion-MNIST"),
    "histograms": (gallery_analyses.histograms, "Fifty latents against N(0, 1)"),
    "editing": (gallery_analyses.editing, "Editing: thicker, thinner"),
    "traversal": (gallery_analyses.traversal, "Two latents varied"),
    "retrieval": (gallery_analyses.retrieval, "Retrieval by code"),
    "anomaly": (gallery_analyses.anomaly, "Outliers: a digit never seen"),
    "debiasing": (gallery_analyses.debiasing, "Rarity weights"),
    "memorisation": (gallery_analyses.memorisation, "Memorisation"),
    "mixture": (gallery_lectures.mixture, "A mixture of Gaussians as a latent-variable model"),
    "elbo_curves": (gallery_lectures.elbo_curves, "The ELBO and its two sets of parameters"),
    "three_notes": (gallery_lectures.three_notes, "Three notes on an autoencoder's codes"),
    "codes_and_samples": (gallery_lectures.codes_and_samples, "Codes in black, samples in blue"),
    "p_value_classes": (gallery_lectures.p_value_classes, "Codes as p-values"),
    "embedding": (gallery_lectures.embedding, "An embedding from a network trained on photographs"),
    "tissue_lesions": (gallery_lectures.tissue_lesions, "Anomalies with a place: tissue"),
    "road_scenes": (gallery_lectures.road_scenes, "Edge cases: roads"),
    "batch_size": (gallery_lectures.batch_size, "Homework: batch size"),
}


def main() -> int:
    """Run the named sections and rewrite the index."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help=", ".join(SECTIONS))
    parser.add_argument("--index", action="store_true", help="only rewrite index.md")
    parser.add_argument("--out", type=Path, default=Path("docs/gallery"))
    parser.add_argument("--runs", type=Path, default=Path("runs/gallery"))
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.sections) - set(SECTIONS))
    if unknown:
        parser.error(f"unknown section {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    gallery = Gallery(arguments.out, arguments.runs)
    for name in [] if arguments.index else arguments.sections or SECTIONS:
        torch.manual_seed(0)
        began = time.perf_counter()
        gallery.section = name
        SECTIONS[name][0](gallery)
        gallery.save()
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    _write_index(gallery)
    return 0


def _write_index(gallery: Gallery) -> None:
    lines = [
        "# Gallery",
        "",
        "`python tools/gallery.py` rebuilds this page on a CPU. All numbers are in [numbers.json](numbers.json); each",
        "picture names its command in the PNG's text, too. One run with seed 0, unless a section says otherwise. The",
        "sections follow the lectures; [the guide](../vae.md) and [five notebooks](../notebooks/lecture_000.ipynb)",
        "explain what they show.",
        "",
    ]
    for name, (_, title) in SECTIONS.items():
        entry: dict[str, Any] | None = gallery.entries.get(name)
        if entry is None:
            continue
        lines += [f"## {title}", "", entry["text"], ""]
        lines += [f"![{title}]({picture})" for picture in entry["pictures"]]
        if entry["numbers"]:
            lines += ["", *_table(entry["numbers"])]
        lines += ["", f"`{gallery.command(name)}`", ""]
    lines += [
        "Next: [train these models](../vae.md), or [faces with known factors](../faces.md).",
        "",
    ]
    (gallery.out / "index.md").write_text("\n".join(lines))


def _table(numbers: dict[str, Any]) -> list[str]:
    return [
        "| | |",
        "|---|---|",
        *(f"| {key} | {_cell(value)} |" for key, value in numbers.items()),
    ]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, list):
        return ", ".join(_cell(each) for each in value)
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    raise SystemExit(main())
