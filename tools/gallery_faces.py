"""Rebuild the gallery of faces from two finished runs: pictures docs/gallery/faces_*.png and numbers faces.json.

ecmvae vae faces runs/faces-data --count 4000
ecmvae vae train --config configs/vae/faces.yaml --out runs/faces
ecmvae vae train --config configs/vae/faces_ae.yaml --out runs/faces-ae
python tools/gallery_faces.py runs/faces runs/faces-ae            every section
python tools/gallery_faces.py runs/faces runs/faces-ae morphs     only these

The classifier and the small models of the debiasing section are trained here once and kept in --runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faces_bayes
import torch
from faces_debias import debias
from faces_judge import ATTRIBUTES, Judge, price_of_a_direction, share, shifted
from faces_runs import SEED, Faces
from torch import Tensor

from ecmvae.training.vae import load_vae
from ecmvae.vae.frechet import density_coverage, extract, frechet_feature_distance, precision_recall
from ecmvae.vae.latent_space import box_samples, morph, uniformity
from ecmvae.vae.metrics import bound_report
from ecmvae.vae.outliers import outlier_scores
from ecmvae.vae.plots import latent_histograms
from ecmvae.visual.features import PictureFeatures

FEATURE_SIZE = 128
"""Pixels of the pictures that the feature network sees."""
EDITS = ("Smiling", "Eyeglasses", "Wearing_Hat")
ALPHAS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
STRENGTHS = (1.0, 2.0, 3.0, 4.0)


def factors(faces: Faces) -> None:
    """What the faces are drawn from, and some of the training set."""
    sheet, names = faces_bayes.factor_sheet()
    faces.grid("factors", "factors", sheet, names, title="Factors of a drawn face, one a row")
    some = faces.folder.images("train")[:48].float().div(255).unflatten(0, (4, 12))
    faces.grid(
        "factors",
        "data",
        some,
        title="Training faces: all factors at random, with small variations",
        scale=1,
    )
    shares = faces.folder.table("train").float().mean(0).tolist()
    faces.report("factors", {"shares": dict(zip(faces.folder.attributes, shares, strict=True))})


def training(faces: Faces) -> None:
    """How long the two models were trained, and what their likelihood makes worth describing."""
    runs: dict[str, Any] = {}
    for run in (faces.run, faces.ae_run):
        fit = load_vae(run)[1].fit
        steps = -(-len(faces.folder.names("train")) // fit.batch_size) * fit.epochs
        runs[run.name] = {"epochs": fit.epochs, "batch_size": fit.batch_size, "steps": steps}
    some = faces.folder.images("train")[:1500].float() / 255
    faces.report(
        "training", {"runs": runs, "directions_worth_their_kl": price_of_a_direction(some)}
    )


def naive_bayes(faces: Faces) -> None:
    """The lectures' first ten observations, and ten new looks."""
    seen, new = faces_bayes.observations(), faces_bayes.new_looks(seed=SEED)
    for name, rows, title in (
        ("table", seen, "The first ten observations of the lectures' table of faces"),
        ("naive_bayes", new, "Ten new looks, sampled from naive Bayes"),
    ):
        faces_bayes.drawn(rows, title).savefig(
            faces.out / f"faces_{name}.png",
            dpi=90,
            metadata={"command": faces.command("naive_bayes")},
        )
    faces.report(
        "naive_bayes",
        {"observations": faces_bayes.table(seen), "new_looks": faces_bayes.table(new)},
    )


def reconstructions(faces: Faces) -> None:
    """Held-out faces through both models, and the bounds of the VAE."""
    x = faces.held_out[:12]
    rows = torch.stack([x, faces.decode(faces.encode(x)), faces.ae_decode(faces.ae_codes(x))])
    faces.grid(
        "reconstructions", "reconstructions", rows, ["original", "VAE", "autoencoder"],
        title="Held-out faces and their reconstructions from 200 numbers",
    )  # fmt: skip
    every = faces.held_out
    errors = {
        "vae": faces.decode(faces.encode(every)),
        "autoencoder": faces.ae_decode(faces.ae_codes(every)),
        "mean_face": faces.folder.images("train").float().mean(0).div(255).expand_as(every),
    }
    torch.manual_seed(SEED)
    report = bound_report(faces.vae, every[:200], num_samples=5)
    faces.report(
        "reconstructions",
        {
            "held_out_faces": len(every),
            "mean_squared_error": {
                name: float(((x - every) ** 2).mean()) for name, x in errors.items()
            },
            "kl": report["kl"],
        },
    )


def new_faces(faces: Faces, count: int, seed: int) -> dict[str, Tensor]:
    """Faces that nobody drew, by three ways to sample."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        drawn = torch.cat([faces.vae.sample(100, generator) for _ in range(-(-count // 100))])[
            :count
        ].clamp(0, 1)
    codes = faces.ae_codes(faces.folder.images("train").float() / 255)
    box = faces.ae_decode(box_samples(codes, count, generator))
    normal = faces.ae_decode(torch.randn(count, codes.shape[1], generator=generator))
    return {
        "vae_samples": drawn,
        "autoencoder_box_samples": box,
        "autoencoder_normal_samples": normal,
    }


def samples(faces: Faces) -> None:
    """New faces of both models, and their Frechet distances in the features of a named network."""
    count = len(faces.held_out)
    new = new_faces(faces, count, SEED)
    first = [new["vae_samples"], new["autoencoder_box_samples"]]
    rows = torch.cat([each[:24].unflatten(0, (2, 12)) for each in first])
    faces.grid(
        "samples", "new", rows, ["VAE, prior", "VAE, prior", "AE, box", "AE, box"],
        title="New faces: the VAE samples N(0, I), the autoencoder the box of its training codes",
    )  # fmt: skip
    network = PictureFeatures(size=FEATURE_SIZE)
    real = extract(faces.held_out, network)
    sets = new | {
        "vae_reconstructions": faces.decode(faces.encode(faces.held_out)),
        "autoencoder_reconstructions": faces.ae_decode(faces.ae_codes(faces.held_out)),
        "training_faces": faces.folder.images("train")[:count].float() / 255,
    }
    reports = {}
    for name, x in sets.items():
        features = extract(x, network)
        precision, recall = precision_recall(real, features)
        density, coverage = density_coverage(real, features)
        reports[name] = {
            "fid": frechet_feature_distance(real, features),
            "precision": precision,
            "recall": recall,
            "density": density,
            "coverage": coverage,
        }
    better = [1 - reports["vae_samples"]["fid"] / reports["autoencoder_box_samples"]["fid"]]
    for seed in (SEED + 1, SEED + 2):
        again = new_faces(faces, count, seed)
        fid = {
            name: frechet_feature_distance(real, extract(again[name], network))
            for name in list(again)[:2]
        }
        better.append(1 - fid["vae_samples"] / fid["autoencoder_box_samples"])
    numbers = {
        "network": network.name,
        "pictures_each": count,
        "vae_better_by": better,
        "scores": reports,
    }
    faces.report("samples", numbers)


def latents(faces: Faces) -> None:
    """The first 50 of 200 dimensions, one draw each, against the prior."""
    with torch.no_grad():
        posterior = faces.vae.encode(faces.held_out)
        drawn = posterior.rsample(generator=torch.Generator().manual_seed(SEED))
        kl = posterior.kl_per_dimension().mean(0)
    sheet = latent_histograms(drawn)
    sheet.suptitle(
        "First 50 of 200 latents: samples of q(z|x) of held-out faces, and the density of N(0, 1)",
        fontsize=9,
    )
    sheet.savefig(
        faces.out / "faces_latents.png", dpi=80, metadata={"command": faces.command("latents")}
    )
    distances, active = uniformity(drawn), (posterior.mean.var(0) > 0.01).sum()
    numbers: dict[str, Any] = {
        "active_dimensions": int(active),
        "median_kolmogorov_smirnov_distance": float(distances.median()),
        "largest_kolmogorov_smirnov_distance": float(distances.max()),
        "kl_of_the_ten_largest": kl.sort(descending=True).values[:10].tolist(),
    }
    faces.report("latents", numbers)


def vectors(faces: Faces) -> None:
    """Smile, glasses and hat added to faces without and taken from faces with, judged by the classifier."""
    codes = faces.encode(faces.held_out)
    rebuilt = faces.decode(codes)
    numbers: dict[str, Any] = {
        "judge_right_on_held_out_faces": {
            name: share(faces.judge.sees(faces.held_out, name) == faces.has(name))
            for name in ATTRIBUTES
        },
        "judge_right_on_reconstructions": {
            name: share(faces.judge.sees(rebuilt, name) == faces.has(name)) for name in ATTRIBUTES
        },
    }
    rows, labels = [], []
    for name in EDITS:
        vector, has = faces.direction(name), faces.has(name)
        without = codes[~has]
        start = [
            number
            for number in range(40)
            if not has[number] and not faces.has("Eyeglasses")[number]
        ][:2]
        for number in start:
            rows.append(
                torch.stack(
                    [faces.held_out[number], *faces.decode(shifted(codes[number], vector, ALPHAS))]
                )
            )
            labels.append(name)
        plain = faces.decode(without)
        numbers[name] = {}
        for alpha in STRENGTHS:
            added, subtracted = (
                faces.decode(without + alpha * vector),
                faces.decode(codes[has] - alpha * vector),
            )
            numbers[name][f"alpha_{alpha:g}"] = {
                "recognised_when_added": share(faces.judge.sees(added, name)),
                "gone_when_subtracted": share(~faces.judge.sees(subtracted, name)),
                "other_attributes_kept": kept_others(faces.judge, plain, added, name),
            }
        numbers[name]["seen_without_an_edit"] = share(faces.judge.sees(plain, name))
    faces.grid(
        "vectors", "vectors", torch.stack(rows), labels, ["original", *(f"{alpha:+g}" for alpha in ALPHAS)],
        title="Attribute vectors: mean code with minus mean code without, times alpha, added to the code",
    )  # fmt: skip
    faces.report("vectors", numbers)


def morphs(faces: Faces) -> None:
    """Between pairs of held-out faces."""
    codes = faces.encode(faces.held_out[:12])
    alphas = torch.linspace(0, 1, 9)
    rows = [
        torch.stack([faces.held_out[2 * pair], *faces.decode(morph(codes[2 * pair], codes[2 * pair + 1], alphas)),
                     faces.held_out[2 * pair + 1]])
        for pair in range(5)
    ]  # fmt: skip
    faces.grid(
        "morphs", "morphs", torch.stack(rows), (), ["from", *(f"{alpha:.2g}" for alpha in alphas.tolist()), "to"],
        title="Morphs: decoded codes (1 - alpha) z_A + alpha z_B between two held-out faces",
    )  # fmt: skip


def attribute_grid(faces: Faces) -> None:
    """Two attributes of one face at once."""
    number = next(n for n in range(100) if not any(faces.has(name)[n] for name in ATTRIBUTES))
    code, steps = faces.encode(faces.held_out[number : number + 1])[0], torch.linspace(-1.5, 2.5, 6)
    for across in ("Eyeglasses", "Mouth_Slightly_Open"):
        down = faces.direction("Smiling")
        grid = torch.stack(
            [shifted(code + a * down, faces.direction(across), steps.tolist()) for a in steps]
        )
        pictures = faces.decode(grid.flatten(0, 1)).unflatten(0, (6, 6))
        faces.grid(
            "attribute_grid", f"grid_{across.lower()}", pictures, [f"Smiling {a:+.1f}" for a in steps.tolist()],
            [f"{a:+.1f}" for a in steps.tolist()], title=f"Down: Smiling. Across: {across}",
        )  # fmt: skip


def outliers(faces: Faces) -> None:
    """Held-out faces with the highest and the lowest -ELBO, and what they have in common."""
    torch.manual_seed(SEED)
    scores = outlier_scores(faces.vae, faces.held_out, num_samples=1)
    order = scores.argsort(descending=True)
    ends = torch.cat([order[:12], order[-12:].flip(0)])
    rows = faces.held_out[ends].unflatten(0, (2, 12))
    faces.grid(
        "outliers", "outliers", rows, ["highest", "lowest"],
        title="Held-out faces with the highest and the lowest outlier score, -ELBO",
    )  # fmt: skip
    tenth = len(order) // 10
    tables = torch.cat([faces.folder.table("valid"), faces.folder.table("test")]).float()
    lift = tables[order[:tenth]].mean(0) - tables.mean(0)
    most = lift.argsort(descending=True)[:6].tolist()
    names = faces.folder.attributes
    faces.report(
        "outliers",
        {
            "highest_and_median_score": [float(scores.max()), float(scores.median())],
            "more_common_among_the_highest_tenth": {
                names[index]: [
                    float(tables[order[:tenth]][:, index].mean()),
                    float(tables[:, index].mean()),
                ]
                for index in most
            },
        },
    )


def debiasing(faces: Faces) -> None:
    """Hats at 2 % of the training set, and a training set drawn by rarity."""
    numbers, rows = debias(faces.data, faces.runs)
    faces.grid(
        "debiasing", "debiasing", torch.stack(list(rows.values())), list(rows), scale=2,
        title="Hats are 2 % of the training faces: test faces with hats, and reconstructions at 32 pixels",
    )  # fmt: skip
    faces.report("debiasing", numbers)


def kept_others(judge: Judge, before: Tensor, after: Tensor, edited: str) -> float:
    """Share of the other attributes, over faces, about which the judge says the same before and after an edit."""
    others = [name for name in ATTRIBUTES if name != edited]
    return sum(share(judge.sees(before, name) == judge.sees(after, name)) for name in others) / len(
        others
    )


SECTIONS: dict[str, Callable[[Faces], None]] = {
    each.__name__: each
    for each in (factors, naive_bayes, training, reconstructions, samples, latents, vectors, morphs, attribute_grid,
                 outliers, debiasing)
}  # fmt: skip


def main() -> int:
    """Run the named sections."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run of the VAE")
    parser.add_argument("ae_run", type=Path, help="run of the autoencoder")
    parser.add_argument("sections", nargs="*", help=", ".join(SECTIONS))
    parser.add_argument("--data", type=Path, default=Path("runs/faces-data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/faces-gallery"))
    parser.add_argument("--out", type=Path, default=Path("docs/gallery"))
    given = parser.parse_args()
    unknown = sorted(set(given.sections) - set(SECTIONS))
    if unknown:
        parser.error(f"unknown section {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    faces = Faces(given.run, given.ae_run, given.data, given.runs, given.out)
    for name in given.sections or SECTIONS:
        began = time.perf_counter()
        SECTIONS[name](faces)
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
