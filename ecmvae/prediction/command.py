"""`ecmvae predict` and `ecmvae export`: signatures for the command line; the work is imported when it starts."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ecmvae.errors import UserError
from ecmvae.files import refuse_unwritable, show_path
from ecmvae.prediction.options import (
    CorpusOptions,
    EngineName,
    ExecutorName,
    LiveOptions,
    PredictorOptions,
    Style,
    WriterOptions,
)
from ecmvae.prediction.sources import is_live, refuse_beside_live, refuse_missing
from ecmvae.shards import Shard


def predict(
    sources: list[str],
    *,
    out: str | Path = "predictions",
    checkpoint: str | None = None,
    trust_code: bool = False,
    overlay: bool = True,
    masks: bool = False,
    cutout: bool = False,
    mask_video: bool = False,
    coco: bool = False,
    panoptic: bool = False,
    npz: bool = False,
    jsonl: bool = False,
    parquet: bool = False,
    activity: bool = False,
    edl: bool = False,
    otio: bool = False,
    reframe: str = "",
    also: list[str] | str = "",
    style: Style = "contour",
    loudness: bool = False,
    uncertainty: bool = False,
    fps: float = 4.0,
    concepts: str | None = None,
    cache: bool = True,
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
    shard: str | None = None,
    manifest: Path | None = None,
    retry_failed: bool = False,
    executor: ExecutorName = "local",
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    seconds: float | None = None,
    microphone: str = "default",
    patience: float = 10.0,
) -> int:
    """Cut the sounding objects out of videos, or of a live camera or stream.

    Writes one overlay video for each source, with the source's size, frame rate and sound, and the other outputs that
    you choose. A run over several videos continues when one fails, skips those whose outputs exist (so it can be
    resumed), and exits with 2 at the end if any failed.

    A camera (its number) or a stream (rtsp://, http://, udp://, tcp://, rtmp://) is the only source of a run. Its masks
    depend on the past only, frames are dropped rather than delayed, a line is printed every second, and Ctrl-C ends it.

    Examples:
        ecmvae predict dog.mp4 --out dog.overlay.mp4
        ecmvae predict holiday/ --out marked --masks --coco
        ecmvae predict 'clips/*.mkv' --out marked --overlay false --cutout
        ecmvae predict talk.mp4 --out short.mp4 --reframe 9:16
        ecmvae predict dog.mp4 --out sure --samples 8 --uncertainty --style heatmap
        ecmvae predict street.mp4 --checkpoint concepts --concepts "dog, guitar" --out street.overlay.mp4
        ecmvae predict list.txt --out masks --overlay false --parquet --manifest masks/manifest.jsonl --shard 3/64
        ecmvae predict 0 --out seen.mp4
        ecmvae predict rtsp://127.0.0.1:8554/door --out udp://127.0.0.1:9000

    Args:
        sources: Videos: files, folders, glob patterns, or a .txt file with one path a line; or one camera or stream.
        out: Folder for the outputs (created if missing), or for a single source the file to write: .mp4 = overlay,
            .webm = cut-out, .json = COCO masks, .npz = arrays; with --reframe, .mp4 = the reframed video. For a camera
            or stream also an address to send the overlay to: udp://HOST:PORT, tcp://, http://, rtsp://, rtmp://.
        checkpoint: Folder, run, name (see ecmvae models) or hf://owner/name; without it the packaged model, else the
            newest runs/demo. Or concepts (concepts:clap+clipseg, concepts:ast+grounding_dino+sam2): foundation models
            without training.
        trust_code: Import the classes that the checkpoint's configuration names by import path: runs their code.
        overlay: Write NAME.overlay.mp4, the video with its masks drawn in.
        masks: Write NAME.masks/000000.png ..., one mask a frame.
        cutout: Write NAME.cutout.webm, the sounding objects on a transparent background.
        mask_video: Write NAME.mask.mp4, white on black.
        coco: Write NAME.coco.json, run-length masks in COCO's format.
        panoptic: Write NAME.panoptic/000000.png ..., the number of each object as a colour, with COCO's panoptic JSON.
        npz: Write NAME.npz with masks, timestamps and loudness.
        jsonl: Write NAME.masks.jsonl, a line with a COCO run-length mask for each mask.
        parquet: Write NAME.masks.parquet, the same rows as Parquet.
        activity: Write NAME.activity.csv: loudness, masked area and each class's activity at every frame.
        edl: Write NAME.edl, an edit decision list with a marker where each class begins to sound.
        otio: Write NAME.otio, a timeline with a marker for each span in which a class sounds (OpenTimelineIO).
        reframe: Write NAME.reframe.mp4, cropped to this aspect ratio (9:16 for phones), following the sounding
            objects.
        also: Further output formats, by name or import path: my_package.gif:GifWriter, or [one, another].
        style: Style of the overlay: contour (tint and outline), heatmap (probability) or spotlight (the rest dark).
        loudness: Draw the loudness of the last five seconds into the overlay.
        uncertainty: Add a second picture with the uncertainty to the overlay.
        fps: Frames a second that go through the model, which is most of the work; masks in between are interpolated.
        concepts: With --checkpoint concepts: the classes to search for, such as 'dog, guitar, person speaking', or a
            table of names (.csv); without it the tagger's own names.
        cache: With --checkpoint concepts: cache the networks' outputs in ~/.cache/ecmvae, so that a second run with
            other words or another threshold is fast. Outputs for cameras and streams are never cached.
        samples: Number of latent samples to average, for the uncertainty; takes more time. 1 uses the latents' means.
        threshold: Probability above which a pixel is in the mask; lower marks more.
        smoothing: Standard deviation, in seconds, of a Gaussian over time; 0 = off.
        squash: Stretch the picture to the model's square instead of keeping its aspect ratio.
        audio_track: Audio track to use and to keep, counted from 0.
        batch: Clips in one pass through the model on a GPU; on a CPU one goes at a time unless --samples asks for more.
        half: Half precision inside the model: faster on a GPU, rarely on a CPU.
        engine: What runs the model: onnx (onnxruntime, on the CPU), eager (PyTorch), compile (PyTorch, compiled first);
            auto is onnx if the model has been exported, except with a GPU, --samples or --half, or if PyTorch is faster
            here, which is measured once, before runs over ten minutes of video or more.
        device: auto, cpu, cuda, cuda:1 or mps.
        seed: Seed of the latent samples.
        force: Replace existing outputs.
        progress: Show a progress bar with the time left (on a terminal).
        shard: Process only part i of n of the sorted list, 3/64; auto reads i and n from the variables of torchrun,
            SLURM or Kubernetes.
        manifest: Append a row for each finished file to this .jsonl, and skip files that have one; each shard has its
            own file next to it.
        retry_failed: Retry files that failed before, according to the manifest.
        executor: local processes one file after the other; ray distributes them over Ray actors.
        workers: Number of Ray actors, each with a CPU core and the model; by default as many as there is room for.
        gpus_per_worker: GPUs that each Ray actor reserves, such as 0.25.
        seconds: Stop a camera or stream after this many seconds.
        microphone: The microphone beside a camera, by the system's name for it (ALSA's, on Linux); none = no sound.
        patience: Seconds without data after which a stream counts as stopped.

    Returns:
        0, or 2 when a video of several failed, now or by the manifest.

    Raises:
        UserError: When nothing can be done, or the only source fails.
    """
    live = any(is_live(each) for each in sources)
    if live:
        refuse_beside_live(
            sources,
            {
                "shard": shard is not None,
                "manifest": manifest is not None,
                "retry_failed": retry_failed,
                "executor": executor != "local",
                "workers": workers is not None,
                "gpus_per_worker": gpus_per_worker is not None,
                "also": bool(also),
            },
        )
    elif given := [
        name
        for name, value in (
            ("seconds", seconds),
            ("microphone", microphone),
            ("patience", patience),
        )
        if value != getattr(LiveOptions, name)
    ]:
        raise UserError(f"--{given[0]} goes with a camera or stream: leave it out")
    else:
        refuse_missing(sources)
    corpus = CorpusOptions(
        shard=Shard.parse(shard) if shard else None,
        manifest=manifest,
        retry_failed=retry_failed,
        executor=executor,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
    )
    if executor == "ray" and find_spec("ray") is None:
        raise UserError("--executor ray needs Ray: pip install 'ecmvae[ray]'")
    if executor == "ray" and checkpoint is not None and Path(checkpoint).exists():
        checkpoint = str(Path(checkpoint).absolute())  # a worker may run in another folder
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
        concepts=concepts,
        cache=cache and not live,
    )
    look = WriterOptions(
        style=style,
        loudness=loudness,
        uncertainty=uncertainty,
        audio_track=audio_track,
        reframe=reframe,
    )
    switches = {
        "reframe": bool(reframe), "overlay": overlay, "masks": masks, "cutout": cutout, "mask_video": mask_video,
        "coco": coco, "panoptic": panoptic, "npz": npz, "jsonl": jsonl, "parquet": parquet, "activity": activity,
        "edl": edl, "otio": otio,
    }  # fmt: skip
    further = also if isinstance(also, list) else [also] if also else []
    formats = [*(name for name, wanted in switches.items() if wanted), *further]
    from ecmvae.memory import limit_arenas, release_free_memory
    from ecmvae.prediction.predictor import VideoPredictor
    from ecmvae.prediction.run import predict_videos, settings_and_weights

    load = partial(
        VideoPredictor, checkpoint, device, options, engine=engine, trust_code=trust_code
    )
    same = partial(settings_and_weights, checkpoint, options, look)
    limit_arenas()
    try:
        if live:
            from ecmvae.prediction.live import predict_live

            moving = LiveOptions(
                seconds=seconds,
                microphone=None if microphone == "none" else microphone,
                patience=patience,
            )
            return predict_live(
                sources[0], formats, load, look, moving, out=out, force=force, progress=progress
            )
        calibrated = None
        if engine == "auto" and executor == "local":
            from ecmvae.prediction.calibration import load_calibrated

            calibrated = partial(load_calibrated, checkpoint)
        return predict_videos(
            sources,
            formats,
            load,
            look,
            out=Path(out),
            force=force,
            progress=progress,
            corpus=corpus,
            same=same,
            calibrated=calibrated,
        )
    finally:
        release_free_memory()  # the model's: the process may go on with other commands


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
        raise UserError(
            f"{show_path(out)} exists: choose another --out, or replace it with --force"
        )
    refuse_unwritable(out)
    from ecmvae.prediction.export import write_export

    write_export(checkpoint, out, format, trust_code=trust_code)
    print(f"{show_path(out)}: {out.stat().st_size / 1e6:.1f} MB")
