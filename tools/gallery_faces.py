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
import json
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import faces_bayes
import torch
from faces_debias import debias, kept
from faces_judge import ATTRIBUTES, Judge
from torch import Tensor

from ecmvae.data.picture_folder import PictureFolder
from ecmvae.files import write_json
from ecmvae.provenance import source_commit
from ecmvae.training.vae import load_vae
from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.frechet import density_coverage, extract, frechet_feature_distance, precision_recall
from ecmvae.vae.latent_space import attribute_direction, box_samples, morph, uniformity
from ecmvae.vae.metrics import bound_report
from ecmvae.vae.outliers import outlier_scores
from ecmvae.vae.plots import labelled_canvas, latent_histograms, save_canvas
from ecmvae.vae.vae import VAE
from ecmvae.visual.features import PictureFeatures

SEED = 0
FEATURE_SIZE = 128
"""Pixels of the pictures that the feature network sees."""
EDITS = ("Smiling", "Eyeglasses", "Wearing_Hat")
ALPHAS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
STRENGTHS = (1.0, 1.5, 2.0, 3.0)


class Faces:
    """Two trained models, their data, and where pictures and numbers go."""

    def __init__(self, run: Path, ae_run: Path, data: Path, runs: Path, out: Path) -> None:
        self.run, self.ae_run, self.data, self.runs, self.out = run, ae_run, data, runs, out
        vae, autoencoder = load_vae(run)[0], load_vae(ae_run)[0]
        assert isinstance(vae, VAE)
        assert isinstance(autoencoder, AutoEncoder)
        self.vae, self.autoencoder = vae.cpu().eval(), autoencoder.cpu().eval()
        self.folder = PictureFolder(data)
        path = out / "faces.json"
        self.numbers: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    @cached_property
    def held_out(self) -> Tensor:
        """Pictures that no model has seen, in [0, 1]: the validation and the test split."""
        return torch.cat([self.folder.images("valid"), self.folder.images("test")]).float() / 255

    @cached_property
    def codes(self) -> Tensor:
        """Posterior means of the training faces."""
        return self.encode(self.folder.images("train").float() / 255)

    @cached_property
    def judge(self) -> Judge:
        """The classifier of the true attributes."""
        judge = Judge(64)
        table = self.folder.table("train")[:, [self.folder.attributes.index(name) for name in ATTRIBUTES]]
        kept(self.runs / "judge.safetensors", judge, lambda: judge.learn(self.folder.images("train"), table))
        return judge.eval()

    def has(self, attribute: str) -> Tensor:
        """Which of the held-out faces have an attribute."""
        return torch.cat([self.folder.attribute(attribute, "valid"), self.folder.attribute(attribute, "test")])

    def direction(self, attribute: str) -> Tensor:
        """Mean code of the training faces with an attribute minus that of those without."""
        has = self.folder.attribute(attribute, "train")
        return attribute_direction(self.codes[has], self.codes[~has])

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Posterior means."""
        return torch.cat([self.vae.encode(part).mean for part in images.split(250)])

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Mean pictures."""
        return torch.cat([self.vae.likelihood.mean(self.vae.decode(part)) for part in codes.split(250)]).clamp(0, 1)

    @torch.no_grad()
    def ae_codes(self, images: Tensor) -> Tensor:
        """Codes of the autoencoder."""
        return torch.cat([self.autoencoder.encode(part) for part in images.split(250)])

    @torch.no_grad()
    def ae_decode(self, codes: Tensor) -> Tensor:
        """Pictures of the autoencoder."""
        decode, mean = self.autoencoder.decode, self.autoencoder.likelihood.mean
        return torch.cat([mean(decode(part)) for part in codes.split(250)]).clamp(0, 1)

    def command(self, section: str) -> str:
        """How to make a section again."""
        return f"python tools/gallery_faces.py {self.run} {self.ae_run} {section}"

    def grid(
        self, section: str, name: str, rows: Tensor, row_labels: Sequence[str] = (), column_labels: Sequence[str] = (),
        title: str = "", scale: int = 1,
    ) -> None:  # fmt: skip
        """Save labelled rows (r, c, 3, H, W)."""
        canvas = labelled_canvas(rows, row_labels, column_labels, title, scale=scale)
        save_canvas(canvas, self.out / f"faces_{name}.png", text={"command": self.command(section)})

    def report(self, section: str, numbers: dict[str, Any]) -> None:
        """Keep a section's numbers, with where they come from."""
        source = {"command": self.command(section), "seed": SEED, "commit": source_commit()}
        self.numbers[section] = rounded(numbers) | source
        write_json(self.out / "faces.json", self.numbers)


def factors(faces: Faces) -> None:
    """What the faces are drawn from, and some of the training set."""
    sheet, names = faces_bayes.factor_sheet()
    faces.grid("factors", "factors", sheet, names, title="Factors of a drawn face, one a row")
    some = faces.folder.images("train")[:48].float().div(255).unflatten(0, (4, 12))
    faces.grid("factors", "data", some, title="Training faces: all factors at random, with small variations", scale=1)
    shares = faces.folder.table("train").float().mean(0).tolist()
    faces.report("factors", {"shares": dict(zip(faces.folder.attributes, shares, strict=True))})


def naive_bayes(faces: Faces) -> None:
    """The lectures' first ten observations, and ten new looks."""
    seen, new = faces_bayes.observations(), faces_bayes.new_looks(seed=SEED)
    for name, rows, title in (
        ("table", seen, "The first ten observations of the lectures' table of faces"),
        ("naive_bayes", new, "Ten new looks, sampled from naive Bayes"),
    ):
        faces_bayes.drawn(rows, title).savefig(
            faces.out / f"faces_{name}.png", dpi=90, metadata={"command": faces.command("naive_bayes")}
        )
    faces.report("naive_bayes", {"observations": faces_bayes.table(seen), "new_looks": faces_bayes.table(new)})


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
            "mean_squared_error": {name: float(((x - every) ** 2).mean()) for name, x in errors.items()},
            "kl": report["kl"],
        },
    )


def samples(faces: Faces) -> None:
    """New faces of both models, and their Frechet distances in the features of a named network."""
    count = len(faces.held_out)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        drawn = torch.cat([faces.vae.sample(100, generator) for _ in range(-(-count // 100))])[:count].clamp(0, 1)
    box = faces.ae_decode(box_samples(faces.ae_codes(faces.folder.images("train").float() / 255), count, generator))
    rows = torch.cat([drawn[:24].unflatten(0, (2, 12)), box[:24].unflatten(0, (2, 12))])
    faces.grid(
        "samples", "new", rows, ["VAE, prior", "VAE, prior", "AE, box", "AE, box"],
        title="New faces: the VAE samples N(0, I), the autoencoder the box of its training codes",
    )  # fmt: skip
    network = PictureFeatures(size=FEATURE_SIZE)
    real = extract(faces.held_out, network)
    others = faces.folder.images("train")[:count].float() / 255
    sets = {
        "vae_samples": drawn,
        "autoencoder_box_samples": box,
        "vae_reconstructions": faces.decode(faces.encode(faces.held_out)),
        "training_faces": others,
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
    better = 1 - reports["vae_samples"]["fid"] / reports["autoencoder_box_samples"]["fid"]
    faces.report(
        "samples", {"network": network.name, "pictures_each": count, "vae_better_by": better, "scores": reports}
    )


def latents(faces: Faces) -> None:
    """The first 50 of 200 dimensions, one draw each, against the prior."""
    with torch.no_grad():
        posterior = faces.vae.encode(faces.held_out)
        drawn = posterior.rsample(generator=torch.Generator().manual_seed(SEED))
        kl = posterior.kl_per_dimension().mean(0)
    sheet = latent_histograms(drawn)
    sheet.suptitle(
        "First 50 of 200 latents: samples of q(z|x) of held-out faces, and the density of N(0, 1)", fontsize=9
    )
    sheet.savefig(faces.out / "faces_latents.png", dpi=80, metadata={"command": faces.command("latents")})
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
    numbers: dict[str, Any] = {
        "judge_right_on_held_out_faces": {
            name: share(faces.judge.sees(faces.held_out, name) == faces.has(name)) for name in ATTRIBUTES
        },
        "judge_right_on_reconstructions": {
            name: share(faces.judge.sees(faces.decode(codes), name) == faces.has(name)) for name in ATTRIBUTES
        },
    }
    rows, labels = [], []
    for name in EDITS:
        vector, has = faces.direction(name), faces.has(name)
        without = codes[~has]
        start = [number for number in range(40) if not has[number] and not faces.has("Eyeglasses")[number]][:2]
        for number in start:
            rows.append(torch.stack([faces.held_out[number], *faces.decode(shifted(codes[number], vector, ALPHAS))]))
            labels.append(name)
        numbers[name] = {
            f"alpha_{alpha:g}": {
                "recognised_when_added": share(faces.judge.sees(faces.decode(without + alpha * vector), name)),
                "gone_when_subtracted": share(~faces.judge.sees(faces.decode(codes[has] - alpha * vector), name)),
                "other_attributes_kept": kept_others(faces, without, alpha * vector, name),
            }
            for alpha in STRENGTHS
        }
        numbers[name]["seen_without_an_edit"] = share(faces.judge.sees(faces.decode(without), name))
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
        grid = torch.stack([shifted(code + a * down, faces.direction(across), steps.tolist()) for a in steps])
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
                names[index]: [float(tables[order[:tenth]][:, index].mean()), float(tables[:, index].mean())]
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


def shifted(code: Tensor, vector: Tensor, alphas: Sequence[float]) -> Tensor:
    """The code plus each multiple of a vector."""
    return code + torch.tensor(alphas)[:, None] * vector


def kept_others(faces: Faces, codes: Tensor, change: Tensor, edited: str) -> float:
    """Share of the other attributes, over faces, about which the judge says the same before and after an edit."""
    before, after = faces.decode(codes), faces.decode(codes + change)
    others = [name for name in ATTRIBUTES if name != edited]
    return sum(share(faces.judge.sees(before, name) == faces.judge.sees(after, name)) for name in others) / len(others)


def share(flags: Tensor) -> float:
    """Share of true values."""
    return float(flags.float().mean())


def rounded(value: Any) -> Any:
    """Numbers to five digits, at any depth."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


SECTIONS: dict[str, Callable[[Faces], None]] = {
    each.__name__: each
    for each in (factors, naive_bayes, reconstructions, samples, latents, vectors, morphs, attribute_grid, outliers,
                 debiasing)
}  # fmt: skip


def main() -> int:
    """Run the named sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
