"""The records of the data sets: layout, columns, what is labelled, expected counts, licence, and how to obtain them.

A data set is one `DataSetRecord`; loading, `check-data`, the miniatures and the tests all read it. This file imports
nothing heavy. Layouts and counts were read from the code and tables that the authors publish; no record means that the
data themselves were available.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ecmvae.errors import UserError

SETS = "ecmvae.data.sets"


@dataclass(frozen=True, kw_only=True)
class DataSetRecord:
    """One data set.

    Attributes:
        name: Its name in configurations and on the command line.
        title: Its name in papers.
        tables: Where its table may lie below the root, the usual place first; ``{split}`` stands for a split.
        columns: Columns of a csv or keys of a JSON row that are read; others may be there.
        files: Where the files of a clip lie, for people.
        truth: "masks", "classes" (masks whose pixels are class numbers) or "boxes".
        splits: Those that the release names.
        expected: Clips (or lines, see `counted`) as released, by split; ``val+test`` is the sum of both.
        counted: Whether clips or lines of the table are compared with `expected`.
        classes: Names of the classes by number, 0 = background; empty without classes.
        stills: Single pictures, with the sound of their middle `sound_seconds`; else clips of several frames.
        sound_seconds: Of a still.
        hop_seconds: Seconds between two frames; None = the length of the sound over the number of frames.
        metrics: Names of metrics that its papers use, computed beside the usual ones.
        licence: What its authors state.
        obtain: Where it comes from.
        citation: Paper.
        load: Import path of the loader.
        rows: Import path of the function that reads its table; "" for the sets with a loader of their own.
    """

    name: str
    title: str
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    files: tuple[str, ...]
    truth: Literal["masks", "classes", "boxes"]
    splits: tuple[str, ...]
    licence: str
    obtain: str
    citation: str
    expected: Mapping[str, int] = field(default_factory=dict)
    counted: Literal["clips", "lines"] = "clips"
    classes: tuple[str, ...] = ()
    stills: bool = False
    sound_seconds: float = 3.0
    hop_seconds: float | None = 1.0
    metrics: tuple[str, ...] = ()
    load: str = f"{SETS}.clips:load_recorded"
    rows: str = ""

    def table(self, root: str | Path, split: str | None = None) -> Path:
        """The table below `root`.

        Raises:
            UserError: If there is none; it says how to obtain the data set, and its licence.
        """
        for place in self._places(root, (split,) if split else self.splits):
            if place.is_file():
                return place
        wanted = self.tables[0].format(split=split or self.splits[0])
        what = f"holds no {wanted}" if Path(root).is_dir() else "there is no such folder"
        raise UserError(f"{root}: {what}; {self.how_to_obtain}")

    def lies_in(self, root: str | Path, split: str | None = None) -> bool:
        """Whether its table lies below `root`; of a data set with a table a split, that of `split` or any."""
        return any(
            place.is_file() for place in self._places(root, (split,) if split else self.splits)
        )

    @property
    def how_to_obtain(self) -> str:
        """One line for somebody who lacks it."""
        return (
            f"obtain {self.title}: {self.obtain} (licence: {self.licence}); layout in docs/data.md"
        )

    def differences(self, counts: Mapping[str, int]) -> str:
        """How many clips there are and should be, "" when that agrees for every split that is known."""
        for names, released in self.expected.items():
            if sum(counts.get(name, 0) for name in names.split("+")) != released:
                here, known = (
                    ", ".join(f"{k} {v}" for k, v in each.items())
                    for each in (counts, self.expected)
                )
                return f"{self.counted}: {here}; as released: {known}"
        return ""

    def _places(self, root: str | Path, splits: tuple[str, ...]) -> Iterator[Path]:
        for table in self.tables:
            for split in splits if "{split}" in table else splits[:1]:
                yield Path(root, table.format(split=split))


_S4 = DataSetRecord(
    name="s4",
    title="AVSBench S4",
    tables=("Single-source/s4_meta_data.csv", "s4_meta_data.csv"),
    columns=("name", "category", "split"),
    files=("s4_data/visual_frames/{split}/{category}/{name}/{name}_{1..5}.png",),
    truth="masks",
    splits=("train", "val", "test"),
    expected={"train": 3452, "val": 740, "test": 740},
    hop_seconds=0.96,
    licence="not to be passed on; code Apache-2.0, videos are YouTube's",
    obtain="by the form on the project page of AVSBench (OpenNLPLab)",
    citation="Zhou et al., Audio-visual segmentation, ECCV 2022 (arXiv:2207.05042)",
    load="ecmvae.data.loading:load_avsbench",
)
_MS3 = replace(
    _S4,
    name="ms3",
    title="AVSBench MS3",
    tables=("Multi-sources/ms3_meta_data.csv", "ms3_meta_data.csv"),
    columns=("video_id", "split"),
    files=("ms3_data/visual_frames/{id}/{id}.mp4_{1..5}.png",),
    expected={"train": 296, "val": 64, "test": 64},
)
_AVSS = replace(
    _S4,
    name="avss",
    title="AVSBench-semantic",
    tables=("metadata.csv",),
    columns=("uid", "split", "label"),
    files=("{v1s|v1m|v2}/{uid}/frames/{0..}.jpg",),
    truth="classes",
    expected={"train": 8498, "val": 1304, "test": 1554},
    citation="Zhou et al., Audio-visual segmentation with semantics, IJCV 2024 (arXiv:2301.13190)",
    load="ecmvae.data.loading:load_avss",
)
_COLLAGE = DataSetRecord(
    name="collage",
    title="AVS-Collage",
    tables=(),
    columns=(),
    files=(),
    truth="masks",
    splits=("train", "val", "test"),
    licence="of each picture and recording, see docs/data-collage.md",
    obtain="python data_prep/collage.py --out data/collage",
    citation="this project",
    load="ecmvae.data.loading:load_collage",
)
_VPO_SS = DataSetRecord(
    name="vpo_ss",
    title="VPO-SS",
    tables=("VPO-SS/vpo_ss_data.csv", "VPO-SS/vpo_ss_data_stereo.csv"),
    columns=("img_Id", "ann_Ids", "cateName", "vgg_file", "split"),
    files=(
        "VPO-SS/data/{cateName}/{img_Id:012}.jpg",
        "VPO-SS/mask/{cateName}/{img_Id:012}_{ann_Ids:012}.png",
        "VGGSound/audios/{vgg_file}.wav",
    ),
    truth="classes",
    splits=("train", "val", "test"),
    expected={"val+test": 890},
    classes=(
        *(
            "background",
            "airplane",
            "baby",
            "bird",
            "bus",
            "car",
            "cat",
            "cell phone",
            "cow",
            "dog",
            "elephant",
        ),
        *(
            "female",
            "horse",
            "keyboard",
            "male",
            "motorcycle",
            "mouse",
            "sheep",
            "skateboard",
            "sports ball",
        ),
        *("tennis racket", "zebra"),
    ),
    stills=True,
    metrics=("fdr", "fdr_masks"),
    licence="annotations of COCO and of VGGSound: CC BY 4.0",
    obtain="by the link in the README of github.com/cyh-0/CAVP, and the sounds from VGGSound",
    citation="Chen et al., Unraveling instance associations, CVPR 2024 (arXiv:2304.02970)",
    rows=f"{SETS}.vpo:rows",
)
_VPO_MS = replace(
    _VPO_SS,
    name="vpo_ms",
    title="VPO-MS",
    tables=("VPO-MS/vpo_ms_data.csv", "VPO-MS/vpo_ms_data_stereo.csv"),
    files=(
        "VPO-MS/data/{img_Id:012}.jpg",
        "VPO-MS/mask/{img_Id:012}.png",
        "VGGSound/audios/{vgg_file}.wav",
    ),
    expected={"val+test": 1432},
)
_VPO_MSMI = replace(
    _VPO_MS,
    name="vpo_msmi",
    title="VPO-MSMI",
    tables=("VPO-MSMI/vpo_msmi_data.csv", "VPO-MSMI/vpo_msmi_data_stereo.csv"),
    columns=(*_VPO_SS.columns, "multi_instance"),
    files=(
        "VPO-MSMI/data/{img_Id:012}.jpg",
        "VPO-MSMI/mask/{img_Id:012}.png",
        "VGGSound/audios/{vgg_file}.wav",
    ),
    expected={},
)
_IS3 = DataSetRecord(
    name="is3",
    title="IS3",
    tables=("IS3_annotation.json",),
    columns=("image", "gt_box"),
    files=("images/{name}.jpg", "audio_wav/{name}.wav", "gt_segmentation/{name}.png"),
    truth="masks",
    splits=("test",),
    expected={"test": 6480},
    stills=True,
    metrics=("interactive",),
    licence="none stated",
    obtain="by the link in the README of github.com/kaistmm/SSLalignment",
    citation="Senocak et al., Sound source localization is all about cross-modal alignment, ICCV 2023",
    rows=f"{SETS}.is3:rows",
)
_IS3_BOXES = replace(
    _IS3, name="is3_boxes", title="IS3 (boxes)", files=_IS3.files[:2], truth="boxes"
)
_VGGSS = DataSetRecord(
    name="vggss",
    title="VGG-SS",
    tables=("vggss.json", "metadata/vggss.json"),
    columns=("file", "class", "bbox"),
    files=(
        "frames/{id}.jpg",
        "audio/{id}.wav",
        "vggss_test.csv, where there is one: the ids to use",
    ),
    truth="boxes",
    splits=("test",),
    expected={"test": 5158},
    stills=True,
    sound_seconds=10.0,
    licence="annotations of VGGSound: CC BY 4.0; videos are YouTube's",
    obtain="github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way, and the videos of VGGSound",
    citation="Chen et al., Localizing visual sounds the hard way, CVPR 2021 (arXiv:2104.02691)",
    rows=f"{SETS}.vggss:rows",
)
_VGGSS_EXTENDED = replace(
    _VGGSS,
    name="vggss_extended",
    title="Extended VGG-SS",
    tables=("vggss_test_plus_silent.csv", "metadata/vggss_test_plus_silent.csv"),
    columns=("video", "audio", "label"),
    files=(
        "extend_frames/{video}.jpg",
        "extend_audio/{audio}.wav",
        "vggss.json: the boxes of the positives",
    ),
    expected={"test": 10_316},
    metrics=("extended",),
    obtain="by the link in the README of github.com/stoneMo/SLAVC",
    citation="Mo and Morgado, A closer look at weakly-supervised localization, NeurIPS 2022 (arXiv:2209.09634)",
    rows=f"{SETS}.vggss:extended_rows",
)
_AVISEG = DataSetRecord(
    name="aviseg",
    title="AVISeg",
    tables=("{split}.json",),
    columns=("videos", "annotations"),
    files=("{split}/JPEGImages/{file_name}", "{split}/WAVAudios/{video}.wav"),
    truth="masks",
    splits=("train", "val", "test"),
    expected={"train+val+test": 926},
    hop_seconds=None,
    metrics=("temporal",),
    licence="none stated for the data; code MIT",
    obtain="by the link on the project page of AVIS (ruohaoguo.github.io/avis)",
    citation="Guo et al., Audio-visual instance segmentation, CVPR 2025 (arXiv:2412.03069)",
    rows=f"{SETS}.aviseg:rows",
)
_REFAVS = DataSetRecord(
    name="refavs",
    title="Ref-AVS",
    tables=("metadata.csv",),
    columns=("uid", "split", "fid"),
    files=(
        "media/{vid}/frames/{0..9}.jpg",
        "media/{vid}/audio.wav",
        "gt_mask/{vid}/fid_{fid}/0000{0..9}.png",
    ),
    truth="masks",
    splits=("train", "val", "test_s", "test_u", "test_n"),
    expected={"train": 14_113, "val": 1349, "test_s": 2288, "test_u": 1656, "test_n": 1028},
    counted="lines",
    licence="CC BY-NC-SA 4.0",
    obtain="by the link in the README of github.com/GeWu-Lab/Ref-AVS",
    citation="Wang et al., Ref-AVS, ECCV 2024 (arXiv:2407.10957)",
    rows=f"{SETS}.refavs:rows",
)

_ALL = (
    *(_S4, _MS3, _AVSS, _COLLAGE, _VPO_SS, _VPO_MS, _VPO_MSMI),
    *(_IS3, _IS3_BOXES, _VGGSS, _VGGSS_EXTENDED, _AVISEG, _REFAVS),
)
RECORDS: dict[str, DataSetRecord] = {record.name: record for record in _ALL}
"""By name."""


def records_in(root: str | Path) -> list[str]:
    """Names of the data sets whose table lies below `root`."""
    found = [name for name, record in RECORDS.items() if record.lies_in(root)]
    # AVSS and Ref-AVS both have a metadata.csv; only Ref-AVS has a folder `media`. IS3 is named once. The extension of
    # VGG-SS has its json, but not its pictures.
    hidden = {"avss" if Path(root, "media").is_dir() else "refavs", "is3_boxes"}
    if not Path(root, "frames").is_dir() and "vggss_extended" in found:
        hidden.add("vggss")
    return [name for name in found if name not in hidden]
