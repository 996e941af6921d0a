"""`ecmvae predict` and `ecmvae export`: signatures for the command line; the work is imported when it starts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from ecmvae.errors import UserError
from ecmvae.files import refuse_unwritable, show_path
from ecmvae.prediction.options import EngineName, PredictorOptions, Style, WriterOptions
from ecmvae.prediction.sources import refuse_missing


def predict(
    sources: list[str],
    *,
    out: Path = Path("predictions"),
    checkpoint: str | None = None,
    trust_code: bool = False,
    overlay: bool = True,
    masks: bool = False,
    cutout: bool = False,
    mask_video: bool = False,
    coco: bool = False,
    npz: bool = False,
    also: list[str] | str = "",
    style: Style = "contour",
    loudness: bool = True,
    uncertainty: bool = False,
    fps: float = 4.0,
    samples: int = 1,
    threshold: float = 0.5,
    smoothing: float = 0.25,
    squash: bool = False,
    audio_track: int = 0,
    batch: int = 4,
    half: bool = False,
    engine: EngineName = "auto",
    device: str = "auto",
    seed: int = 0,
    force: bool = False,
    progress: bool = True,
) -> int:
    """Cut the sounding objects out of videos.

    Writes one overlay video a source, with the source's size, frame rate and own sound, and whatever else is asked
    for. A run over several videos goes on when one fails, skips those whose outputs are there (so it can be resumed),
    and exits with 2 at the end if any failed.

    Examples:
        ecmvae predict dog.mp4 --out dog.overlay.mp4
        ecmvae predict holiday/ --out marked --masks --coco
        ecmvae predict 'clips/*.mkv' --out marked --overlay false --cutout
        ecmvae predict dog.mp4 --out sure --samples 8 --uncertainty --style heatmap

    Args:
        sources: Videos: files, folders, glob patterns, or a .txt file with one path a line.
        out: Folder for the outputs (made if missing), or for a single source the file to write: .mp4 = overlay,
            .webm = cut-out, .json = COCO masks, .npz = arrays.
        checkpoint: Folder, run, name (see ecmvae models) or hf://owner/name; without it the packaged model, else the
            newest runs/demo.
        trust_code: Import the classes that the checkpoint's configuration names by import path: runs their code.
        overlay: Write NAME.overlay.mp4, the video with its masks drawn in.
        masks: Write NAME.masks/000000.png ..., one mask a frame.
        cutout: Write NAME.cutout.webm, the sounding objects on a transparent ground.
        mask_video: Write NAME.mask.mp4, white on black.
        coco: Write NAME.coco.json, run-length masks in COCO's format.
        npz: Write NAME.npz with masks, timestamps and loudness.
        also: Further output formats, by name or import path: my_package.gif:GifWriter, or [one, another].
        style: Of the overlay: contour (tint and outline), heatmap (probability) or spotlight (the rest dark).
        loudness: Draw the loudness of the last five seconds into the overlay.
        uncertainty: Add a second picture with the uncertainty to the overlay.
        fps: Frames a second that go through the model, which is most of the work; the masks between are interpolated.
        samples: Latent samples to average, which shows in the uncertainty and costs time; 1 uses the latents' means.
        threshold: Probability above which a pixel is in the mask; lower marks more.
        smoothing: Standard deviation, in seconds, of a Gaussian over time; 0 = off.
        squash: Stretch the picture to the model's square instead of keeping its aspect.
        audio_track: Which audio track to hear and to keep, from 0.
        batch: Clips in one pass through the model.
        half: Half precision inside the model: faster on a GPU, rarely on a CPU.
        engine: What runs the model: onnx (onnxruntime, on the CPU), eager (PyTorch), compile (PyTorch, compiled first);
            auto is onnx where the model has been exported, unless a GPU, --samples or --half speaks for PyTorch.
        device: auto, cpu, cuda, cuda:1 or mps.
        seed: Seed of the latent samples.
        force: Replace outputs that are there.
        progress: Show a progress bar with the time left (on a terminal).

    Returns:
        0, or 2 when a video of several failed.

    Raises:
        UserError: When nothing can be done, or the only source fails.
    """
    refuse_missing(sources)
    options = PredictorOptions(
        fps=fps,
        samples=samples,
        threshold=threshold,
        batch=batch,
        half=half,
        smoothing=smoothing,
        squash=squash,
        audio_track=audio_track,
        seed=seed,
    )
    look = WriterOptions(style=style, loudness=loudness, uncertainty=uncertainty, audio_track=audio_track)
    switches = {
        "overlay": overlay, "masks": masks, "cutout": cutout, "mask_video": mask_video, "coco": coco, "npz": npz,
    }  # fmt: skip
    further = also if isinstance(also, list) else [also] if also else []
    formats = [*(name for name, wanted in switches.items() if wanted), *further]
    from ecmvae.prediction.predictor import VideoPredictor
    from ecmvae.prediction.run import predict_videos

    load = partial(VideoPredictor, checkpoint, device, options, engine=engine, trust_code=trust_code)
    return predict_videos(sources, formats, load, look, out=out, force=force, progress=progress)


def export(
    checkpoint: str | None = None,
    *,
    out: Path = Path("model.onnx"),
    format: Literal["onnx", "onnx-int8", "torch-export", "safetensors"] = "onnx",
    trust_code: bool = False,
    force: bool = False,
) -> None:
    """Write a model for other programs.

    ONNX and torch-export hold the deterministic model with its audio encoder: `frames` (B, T, 3, S, S), normalised, and
    `audio` (B, T, ...), features of the encoder's front end (VGGish: log-mel patches (1, 96, 64)), give `logits`
    (B, T, K, S, S), K = 1 or the number of classes. B and T are free, S is the model's own. `ecmvae predict` and
    `VideoPredictor` run an ONNX file as a checkpoint, without PyTorch.

    Examples:
        ecmvae export --out model.onnx
        ecmvae export --checkpoint runs/demo --format torch-export --out model.pt2

    Args:
        checkpoint: Folder, run, name (see ecmvae models) or hf://owner/name; without it the packaged model, else the
            newest runs/demo.
        out: File to write.
        format: onnx, onnx-int8 (weights and activations quantised dynamically: a quarter of the size, not faster on
            every CPU), torch-export (.pt2, read with torch.export.load) or safetensors (weights only).
        trust_code: Import the classes that the checkpoint's configuration names by import path: runs their code.
        force: Replace a file that is there.

    Raises:
        UserError: When there is no such model, the file exists, or may not be written.
    """
    if out.exists() and not force:
        raise UserError(f"{show_path(out)} exists: choose another --out, or replace it with --force")
    refuse_unwritable(out)
    from ecmvae.prediction.export import write_export

    write_export(checkpoint, out, format, trust_code=trust_code)
    print(f"{show_path(out)}: {out.stat().st_size / 1e6:.1f} MB")
