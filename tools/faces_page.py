"""Write the numbers of docs/gallery/faces.json into docs/faces.md, between its two marks.

python tools/faces_page.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE, NUMBERS = Path("docs/faces.md"), Path("docs/gallery/faces.json")
PICTURES = {
    "reconstructions": {"reconstructions": "Held-out faces and their reconstructions"},
    "samples": {"new": "New faces of the VAE and of the autoencoder"},
    "latents": {"latents": "First 50 of 200 latents of held-out faces, and the density of N(0, 1)"},
    "vectors": {
        "vectors": "A multiple of an attribute's vector added to the code of a face",
        "grid_eyeglasses": "Two vectors at once: glasses",
        "grid_mouth_slightly_open": "Two vectors at once: the mouth",
        "morphs": "From one face to another along the line between their codes",
    },
    "outliers": {"outliers": "Held-out faces with the highest and the lowest -ELBO"},
    "debiasing": {"debiasing": "Reconstructions of hats by the three models"},
}
"""Section -> pictures behind its table, with their alternative texts."""
BEGIN, END = "<!-- numbers -->", "<!-- end of the numbers -->"


def main() -> int:
    """Rewrite the block."""
    numbers = json.loads(NUMBERS.read_text())
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{block(numbers)}\n{END}{after}")
    return 0


def block(numbers: dict[str, Any]) -> str:
    """Tables of every section that was measured."""
    commits = sorted({numbers[name]["commit"] for name in TABLES if name in numbers})
    where = f"Commit {', '.join(commits)}, seed 0; `python tools/gallery_faces.py runs/faces runs/faces-ae`."
    parts = [where]
    for name, table in TABLES.items():
        if name in numbers:
            parts += [f"### {name.capitalize()}", table(numbers[name]), *_pictures(name)]
    return "\n\n".join(parts)


def _pictures(section: str) -> list[str]:
    """The pictures of a section that were drawn; their titles are part of them."""
    return [
        f"![{text}](gallery/faces_{name}.png)"
        for name, text in PICTURES.get(section, {}).items()
        if NUMBERS.with_name(f"faces_{name}.png").is_file()
    ]


def _training(section: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {row['epochs']} | {row['steps']:,} |" for name, row in section["runs"].items()
    ]
    return "\n".join(["| run | epochs | steps |", "|---|---|---|", *rows])


def _reconstructions(section: dict[str, Any]) -> str:
    errors = section["mean_squared_error"]
    rows = [f"| {name.replace('_', ' ')} | {value:.5f} |" for name, value in errors.items()]
    head = f"| {section['held_out_faces']} held-out faces, from | mean squared error |"
    return "\n".join([head, "|---|---|", *rows])


def _samples(section: dict[str, Any]) -> str:
    rows = [
        f"| {name.replace('_', ' ')} | {s['fid']:.1f} | {s['precision']:.2f} | {s['recall']:.2f} | "
        f"{s['density']:.2f} | {s['coverage']:.2f} |"
        for name, s in section["scores"].items()
    ]
    head = f"| {section['pictures_each']} of each | FID | precision | recall | density | coverage |"
    gains = ", ".join(f"{100 * gain:.1f} %" for gain in section["vae_better_by"])
    better = f"The FID of the VAE's samples is {gains} below that of the autoencoder's box (three draws). "
    network = f"Features: {section['network']}; it is not the Inception network of published FIDs."
    return "\n".join([head, "|---|---|---|---|---|---|", *rows, "", better + network])


def _vectors(section: dict[str, Any]) -> str:
    lines = [
        "| vector | alpha | recognised when added | gone when subtracted | other attributes unchanged |"
    ]
    lines.append("|---|---|---|---|---|")
    for name, rows in section.items():
        if not isinstance(rows, dict) or "seen_without_an_edit" not in rows:
            continue
        lines.append(f"| {name} | 0 | {_percent(rows['seen_without_an_edit'])} | | |")
        for alpha, row in rows.items():
            if alpha.startswith("alpha"):
                cells = [_percent(value) for value in row.values()]
                lines.append(f"| | {alpha.removeprefix('alpha_')} | {' | '.join(cells)} |")
    lines += [
        "",
        "| the classifier is right about | held-out faces | their reconstructions |",
        "|---|---|---|",
    ]
    for name, value in section["judge_right_on_held_out_faces"].items():
        rebuilt = section["judge_right_on_reconstructions"][name]
        lines.append(f"| {name} | {_percent(value)} | {_percent(rebuilt)} |")
    return "\n".join(lines)


def _latents(section: dict[str, Any]) -> str:
    largest = ", ".join(f"{value:.1f}" for value in section["kl_of_the_ten_largest"])
    return (
        f"{section['active_dimensions']} of 200 dimensions are active (variance of the mean above .01); the ten "
        f"largest KLs are {largest} nats. Median Kolmogorov-Smirnov distance of a dimension from N(0, 1): "
        f"{section['median_kolmogorov_smirnov_distance']:.3f}."
    )


def _outliers(section: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {_percent(high)} | {_percent(every)} |"
        for name, (high, every) in section["more_common_among_the_highest_tenth"].items()
    ]
    return "\n".join(
        ["| attribute | among the highest tenth of scores | among all |", "|---|---|---|", *rows]
    )


def _debiasing(section: dict[str, Any]) -> str:
    bare = section["effective_sample_size_of_the_bare_product_of_200_histograms"]
    lines = [
        f"Hats are {_percent(section['share_of_hats'])} of {section['training_faces']:,} training faces; rarity "
        f"weights draw them {_percent(section['share_of_hats_drawn_by_rarity'])} of the time. The bare product of 200 "
        f"histograms has an effective sample size of {bare:.1f} faces, the guarded one "
        f"{section['effective_sample_size_by_rarity']:.0f}.",
        "",
        "| training set drawn | squared error, hats | squared error, others | hats still seen in reconstructions |",
        "|---|---|---|---|",
    ]
    for name, row in section.items():
        if isinstance(row, dict):
            lines.append(
                f"| {name} | {row['squared_error_with_hat']:.5f} | {row['squared_error_without_hat']:.5f} | "
                f"{_percent(row['hats_still_seen_in_reconstructions'])} |"
            )
    return "\n".join(lines)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


TABLES = {
    "training": _training,
    "reconstructions": _reconstructions,
    "samples": _samples,
    "latents": _latents,
    "vectors": _vectors,
    "outliers": _outliers,
    "debiasing": _debiasing,
}
"""Section of the numbers -> its part of the page."""


if __name__ == "__main__":
    raise SystemExit(main())
