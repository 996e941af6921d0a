"""`ecmvae predict` on real streams over loopback, and on a camera that FFmpeg makes up."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import av
import numpy as np
import pytest
from listening_model import ListeningModel
from live_server import FPS, LiveServer, transport_stream

from ecmvae.cli import main
from ecmvae.data.video import addresses, read_clip
from ecmvae.data.video.addresses import Input
from ecmvae.errors import UserError
from ecmvae.prediction import predictor
from ecmvae.prediction.command import predict
from ecmvae.prediction.live import Delays
from ecmvae.prediction.torch_engine import TorchEngine

SECONDS = 4.0


class Model(ListeningModel):
    """As slow as it is told."""

    delay = 0.0

    def forward(self, *words: object, **more: object) -> object:
        time.sleep(self.delay)
        return super().forward(*words, **more)


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    found = Model(32, 2, level=0.5)
    monkeypatch.setattr(predictor, "open_engine", lambda *_, **__: TorchEngine(found, "cpu"))
    return found


@pytest.fixture(scope="module")
def content() -> bytes:
    return transport_stream(SECONDS)


def run(url: str, out: Path, **options: object) -> int:
    return predict([url], out=out, checkpoint="any", device="cpu", patience=3.0, **options)


@pytest.mark.parametrize("kind", ["tcp", "http", "rtsp", "udp"])
def test_a_stream_becomes_an_overlay(
    kind: str,
    content: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "seen.mp4"
    with LiveServer(content, SECONDS, kind) as server:
        assert run(server.url, out, fps=10.0, smoothing=0.0, activity=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(server.url)
    assert " frames dropped -> " in lines[-1]
    assert "from a frame's arrival to its mask median " in lines[-1]
    assert len(lines) > 2
    clip = read_clip(out)
    assert clip.frames.shape[1:] == (96, 128, 3)
    red = clip.frames[:, 40, 60].astype(int)
    tinted = red[:, 0] - red[:, 1] > 40
    rows = (tmp_path / "seen.activity.csv").read_text().splitlines()[1:]
    # the file may begin later, where frames were dropped
    times = np.array([float(row.split(",")[1]) for row in rows])
    assert len(times) == len(clip.frames)
    if kind != "udp":  # which is joined somewhere
        assert not tinted[times < 1.3].any()
        assert tinted[times > 2.2].all()
    assert tinted.any()
    assert np.abs(clip.waveform).max() > 0.3  # the stream's own sound
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]
    if kind == "udp":  # which has no end
        assert "has stopped (nothing came for 3 s)" in caplog.text


def test_a_slow_machine_drops_frames_and_stays_near(
    content: bytes, tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    model.delay = 0.5
    with LiveServer(content, SECONDS) as server:
        assert run(server.url, tmp_path / "seen.mp4") == 0
    line = capsys.readouterr().out.splitlines()[-1]
    frames = int(line.split(": ")[1].split()[0])
    dropped = int(line.split("; ")[2].split()[0])
    assert dropped > 10
    assert frames + dropped <= SECONDS * FPS
    assert len(read_clip(tmp_path / "seen.mp4").frames) == frames
    times = read_clip(tmp_path / "seen.mp4").timestamps
    assert times[-1] - times[0] > 2  # it has kept up with the stream


def test_seconds_and_lines_alone(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LiveServer(content, SECONDS) as server:
        assert run(server.url, tmp_path / "out", overlay=False, seconds=1.5) == 0
    assert not (tmp_path / "out").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["0.0", "s"]
    assert "loudness" in lines[0]
    assert " 1.5 s," in lines[-1]


def test_without_sound(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with LiveServer(transport_stream(2.0, sound=False), 2.0) as server:
        assert run(server.url, tmp_path / "seen.mp4") == 0
    assert "has no sound: treated as silence" in caplog.text
    with av.open(str(tmp_path / "seen.mp4")) as container:
        assert not container.streams.audio


def test_a_stream_that_stops_leaves_a_whole_file(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with LiveServer(content, SECONDS, stall=0.5) as server:
        assert run(server.url, tmp_path / "seen.mp4") == 0
    assert "has stopped (nothing came for 3 s)" in caplog.text
    assert len(read_clip(tmp_path / "seen.mp4").frames) >= 5


def test_the_overlay_is_sent_on(content: bytes, tmp_path: Path) -> None:
    """From one address to another: the receiver is FFmpeg itself."""
    with LiveServer(b"", 1.0, "udp") as free:
        target = free.url
    received: list[tuple[float, np.ndarray]] = []

    def receive() -> None:
        with av.open(target, timeout=(20.0, 3.0)) as container:
            try:
                for frame in container.decode(video=0):
                    received.append((frame.time, frame.to_ndarray(format="rgb24")))
            except av.FFmpegError:
                return

    thread = Thread(target=receive, daemon=True)
    thread.start()
    with LiveServer(content, SECONDS) as server:
        assert (
            predict(
                [server.url],
                out=target,
                checkpoint="any",
                device="cpu",
                smoothing=0.0,
                patience=3.0,
            )
            == 0
        )
    thread.join(timeout=30)
    assert len(received) > 5
    assert received[-1][1].shape == (96, 128, 3)
    # tinted: it sounds
    assert received[-1][1][40, 60].astype(int)[0] - received[-1][1][40, 60].astype(int)[1] > 40


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        (
            "tcp://127.0.0.1:9",
            {},
            "tcp://127.0.0.1:9 cannot be opened (Connection refused): check the address",
        ),
        ("rtsp://127.0.0.1:9/x", {}, "cannot be opened (Connection refused)"),
        ("udp://127.0.0.1:9", {}, "cannot be opened (Permission denied)"),
        ("file:///etc/passwd", {}, "is a file: name its path"),
        ("gopher://127.0.0.1/", {}, "unknown kind of address"),
        (
            "77",
            {"microphone": "none"},
            "camera 77 cannot be opened (No such file or directory): check its number",
        ),
        ("tcp://127.0.0.1:9", {"cutout": True}, "--cutout needs a file"),
        ("tcp://127.0.0.1:9", {"shard": "1/2"}, "--shard has no effect on a camera or stream"),
        ("tcp://127.0.0.1:9", {"seconds": 0.0}, "--seconds must be above 0"),
    ],
)
def test_mistakes_are_one_line(
    url: str, options: dict[str, object], message: str, tmp_path: Path
) -> None:
    if url.startswith("udp") and os.geteuid() == 0:
        pytest.skip("root may listen anywhere")
    with pytest.raises(UserError) as error:
        predict([url], out=tmp_path / "x.mp4", checkpoint="any", device="cpu", **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not [*tmp_path.iterdir()]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "tcp://127.0.0.1:9", "--out", str(tmp_path / "x.mp4")]) == 2
    assert "cannot be opened (Connection refused)" in capsys.readouterr().err
    assert main(["predict", "0", "1", "--out", str(tmp_path / "x.mp4")]) == 2
    assert "a camera or stream goes alone" in capsys.readouterr().err
    (tmp_path / "a.mp4").touch()
    assert main(["predict", str(tmp_path / "a.mp4"), "--seconds", "3"]) == 2
    assert "--seconds goes with a camera or stream" in capsys.readouterr().err


def test_lists_open_no_address(content: bytes, tmp_path: Path) -> None:
    """What a file names is a path; only what the user names is an address."""
    with LiveServer(content, SECONDS, "http") as server:
        (tmp_path / "list.txt").write_text(f"{server.url}\n{server.url}/two\n")
        assert (
            predict(
                [str(tmp_path / "list.txt")], out=tmp_path / "out", checkpoint="any", device="cpu"
            )
            == 2
        )
        assert not server.asked.is_set()


@pytest.mark.parametrize("what", ["redirection", "playlist"])
def test_no_server_leads_elsewhere(what: str, content: bytes, tmp_path: Path) -> None:
    secret = tmp_path / "secret.ts"
    secret.write_bytes(content)
    with LiveServer(content, SECONDS, "http") as other:
        answers = {
            "redirection": f"HTTP/1.0 302 Found\r\nLocation: {other.url}\r\n\r\n",
            "playlist": "HTTP/1.0 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\n\r\n#EXTM3U\n"
            f"#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{secret}\n#EXTINF:4,\n{other.url}\n#EXT-X-ENDLIST\n",
        }
        with (
            LiveServer(content, SECONDS, "http", answer=answers[what].encode()) as server,
            pytest.raises(UserError, match="cannot be opened"),
        ):
            run(server.url, tmp_path / "x.mp4")
        assert not other.asked.is_set()
    assert not (tmp_path / "x.mp4").exists()


def test_a_camera_with_a_microphone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's own test picture and tone stand for the devices, which come by the clock of the machine as these do."""
    clock = {"use_wallclock_as_timestamps": "1"}
    picture = Input(url="testsrc=size=128x96:rate=10,realtime", format="lavfi", options=clock)
    tone = Input(
        url="sine=frequency=440:sample_rate=16000,arealtime", format="lavfi", options=clock
    )
    monkeypatch.setattr(addresses, "_camera_input", lambda number: picture)
    monkeypatch.setattr(addresses, "_microphone_input", lambda name: tone)
    assert predict(["0"], out=tmp_path, checkpoint="any", device="cpu", seconds=2.0) == 0
    clip = read_clip(tmp_path / "camera0.overlay.mp4")
    assert clip.timestamps[-1] == pytest.approx(2.0, abs=0.3)
    assert np.abs(clip.waveform[16_000:24_000]).max() > 0.05


def test_a_camera_without_a_microphone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    picture = Input(url="testsrc=size=128x96:rate=10,realtime", format="lavfi")
    monkeypatch.setattr(addresses, "_camera_input", lambda number: picture)
    monkeypatch.setattr(
        addresses, "_microphone_input", lambda name: Input(url="/no/such", format="wav")
    )
    assert predict(["0"], out=tmp_path, checkpoint="any", device="cpu", seconds=1.0) == 0
    assert (
        "microphone 'default' cannot be opened (No such file or directory): treated as silence"
        in caplog.text
    )


def test_a_file_named_like_a_camera_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").write_bytes(transport_stream(1.0))
    assert predict(["0"], out=tmp_path / "out", checkpoint="any", device="cpu") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.overlay.mp4"]


def test_ctrl_c_leaves_a_playable_file(content: bytes, tmp_path: Path) -> None:
    """A process of its own, as the packaged model runs in it."""
    out = tmp_path / "seen.mp4"
    with LiveServer(transport_stream(60.0), 60.0) as server:
        words = [sys.executable, "-m", "ecmvae", "predict", server.url, "--out", str(out)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.lstrip().startswith("2"):  # two seconds have been seen
                break
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=60)
    assert process.returncode == 0, complained
    assert "frames dropped -> " in said
    assert "Traceback" not in complained
    clip = read_clip(out)
    assert len(clip.frames) > 3
    assert [path.name for path in tmp_path.iterdir()] == ["seen.mp4"]


def test_delays_are_counted() -> None:
    delays = Delays()
    assert delays.quantile(0.5) == 0
    values = np.random.default_rng(0).integers(1, 900, 1000)
    for value in values:
        delays.add(value / 1000)
    assert delays.quantile(0.5) == pytest.approx(np.quantile(values, 0.5), abs=2)
    assert delays.quantile(0.95) == pytest.approx(np.quantile(values, 0.95), abs=3)
    delays.add(1e9)
    assert delays.counts.sum() == 1001
