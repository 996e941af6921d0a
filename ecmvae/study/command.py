"""`ecmvae study run` and `ecmvae study show`: signatures for the command line; the work is imported when it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ecmvae.config import Config, ConfigFiles, ConfigSettings
from ecmvae.errors import UserError, check_range
from ecmvae.files import refuse_unwritable, show_path

_NO_FILES = ConfigFiles()
_NO_SETTINGS = ConfigSettings()


def run(
    config: Config,
    variants: tuple[str, ...] = (),
    seeds: str = "0,1,2",
    out: str = "runs/study",
    score_on: str | None = None,
    split: str = "test",
    task: str = "auto",
    dry_run: bool = False,
    files: ConfigFiles = _NO_FILES,
    settings: ConfigSettings = _NO_SETTINGS,
) -> int:
    """Train a configuration and variants of it with several seeds, score them, and make one table.

    Examples:
        ecmvae study run --config debug loss.kl=0 model.latent.kind=none --seeds 0,1 --out runs/study
        ecmvae study run --config ms3_pvt --data.root AVSBench/Multi-sources --score_on AVSBench ablations/no_kl
        ecmvae study run --config ms3_pvt --data.root AVSBench/Multi-sources ablations/latent_none config=ms3_tpavi
        ecmvae study run --config s4_pvt --data.root AVSBench/Single-source model.latent.dim={8,32}

    A variant is one word: a recipe or YAML file, a setting such as loss.kl=0, or several of them in quotes. It is laid
    over --config and the settings given as options, which apply to every run; config=NAME in a variant replaces the
    recipe of --config. The shell expands braces into a grid: the last example has two variants.

    Every variant is checked before the first one is trained: its settings, names of networks and losses, and its data.
    Runs are sequential, each in a process of its own, with a log next to its folder; a failed run does not stop the
    others. Repeat the command to continue after a stop, to retry failed runs, or to add variants and seeds.

    results.md, .csv, .json and .png in the folder hold the table: the mean over the seeds, 95 % intervals over seeds
    and clips, and the difference of each variant to the configuration itself, paired by seed and clip.

    Args:
        config: The configuration that all runs share.
        variants: What to change, see above; without any, only the configuration itself is trained.
        seeds: Seeds of every variant, separated by commas.
        out: Folder of the study.
        score_on: Folder of the data set on which every finished run is scored, as by ecmvae evaluate; without it the
            table shows the validation scores of the best epoch, which are biased upwards by that choice.
        split: Split to score on.
        task: s4, ms3, avss, another data set, or auto: every data set that the folder holds.
        dry_run: Check everything and list the runs, without starting any.
        files: The YAML files of the configuration.
        settings: What was laid over them.

    Returns:
        0 if all runs finished; 2 if one failed by a mistake you can mend, 1 if one failed otherwise.

    Raises:
        UserError: Before anything is started, for whatever is wrong with a variant, the data or the folder.
    """
    if own := [name for name in settings if name in ("train.seed", "train.out", "train.name")]:
        instead = {"train.seed": "--seeds", "train.out": "--out"}.get(
            own[0], "the names of the variants"
        )
        raise UserError(f"a study sets --{own[0]} itself: use {instead}")
    if score_on is None and task in ("s4", "ms3", "avss"):
        raise UserError(
            f"say where {task} lies: --score_on FOLDER, the one that holds Single-source or Multi-sources"
        )
    numbers = _seeds(seeds)
    refuse_unwritable(Path(out) / "study.json")
    from ecmvae.study.variants import read_variants

    found = read_variants(variants, config, files, settings)
    from ecmvae.study.preflight import check_scoring, check_variants
    from ecmvae.study.runner import Study

    study = Study(
        variants=found, seeds=numbers, out=Path(out), data=score_on, split=split, task=task
    )
    study.check()
    check_variants(found)
    if study.scores:
        check_scoring(found, score_on, split, task)
    if dry_run:
        for variant in found:
            print(f"{variant.name}: seeds {', '.join(map(str, numbers))}")
        print(f"{len(found) * len(numbers)} runs, all as they should be; none was started")
        return 0
    return study.run()


def show(
    folders: list[Path],
    base: Path | None = None,
    scores: list[str] | None = None,
    out: Path | None = None,
) -> int:
    """Make the table of a study, or of any folders of runs.

    Examples:
        ecmvae study show runs/study
        ecmvae study show runs --scores "[*per_clip*, *avsbench*]" --out tables/all

    Runs that differ only in their seed form one row, named by the settings in which it differs from the first row.
    Failed and stopped runs are listed below the table and do not enter any mean. Reports of ecmvae evaluate are found
    anywhere below the folders, and are matched to runs by the weights.

    Args:
        folders: Run folders, studies, or folders that contain them.
        base: A run of the row with which the others are compared; by default the first row.
        scores: Patterns of the scores to show, in order.
        out: Also write OUT.md, OUT.csv with one row for each run, OUT.json and the figure OUT.png.

    Raises:
        UserError: If there are no runs, a file of one cannot be read, or no score fits.
    """
    if out is not None:
        refuse_unwritable(out.with_name(f"{out.name}.md"))
    from ecmvae.study.runs import collect
    from ecmvae.study.table import StudyTable

    table = StudyTable.of(collect(folders), base, scores or ())
    print(table.to_markdown(), end="")
    if out is not None:
        print(f"\nwritten: {', '.join(show_path(path) for path in table.write(out))}")
    return 0


def _seeds(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"--seeds takes whole numbers separated by commas, such as 0,1,2, got {text!r}"
        ) from None
    for number in numbers:
        check_range("seeds", number, 0, 2**32 - 1)
    if len(set(numbers)) < len(numbers):
        raise UserError("a seed is named twice: it would be the same run again")
    return numbers


STUDY_COMMANDS: dict[str, Callable[..., int]] = {"run": run, "show": show}
"""Sub-command -> function."""
