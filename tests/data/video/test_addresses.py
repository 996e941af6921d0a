"""Addresses that a user names: what is allowed with them, and what is shown of them."""

import sys

import pytest

from ecmvae.data.video.addresses import Address, Camera, live_source
from ecmvae.errors import UserError


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECMVAE_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file:///etc/passwd", "is a file: name its path"),
        ("concat://a|b", "unknown kind of address"),
        ("subfile://x", "unknown kind of address"),
        ("ftp://127.0.0.1/x", "unknown kind of address"),
        ("udp://127.0.0.1", "lacks a port: write udp://127.0.0.1:PORT"),
        ("tcp://127.0.0.1:99999", "is not an address"),
        ("http://127.0.0.1/a b", "holds spaces"),
        ("http://127.0.0.1/\x1b[31m", "not text"),
        ("1234", "cameras are numbered from 0"),
    ],
)
def test_wrong_addresses(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        live_source(text)


def test_no_protocol_that_reads_files() -> None:
    for scheme in ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "tcp", "udp"):
        address = Address.parse(f"{scheme}://127.0.0.1:9000/x")
        for options in (address.receiving.options, address.sending):
            allowed = set(options["protocol_whitelist"].split(","))
            assert not allowed & {
                "file",
                "concat",
                "subfile",
                "data",
                "pipe",
                "crypto",
                "hls",
                "async",
                "cache",
            }
        formats = set(address.receiving.options["format_whitelist"].split(","))
        assert not formats & {"hls", "dash", "concat", "sdp", "imf", "lavfi"}
        if scheme in ("http", "https"):
            assert address.receiving.options["max_redirects"] == "0"


@pytest.mark.parametrize(
    ("url", "bound"),
    [
        ("udp://127.0.0.1:9000", "127.0.0.1"),
        ("udp://localhost:9000", "127.0.0.1"),
        ("udp://:9000", "127.0.0.1"),
        ("udp://192.0.2.7:9000", "192.0.2.7"),
        ("udp://0.0.0.0:9000", None),
        ("udp://239.1.2.3:9000", None),
    ],
)
def test_packets_are_taken_where_the_user_says(url: str, bound: str | None) -> None:
    assert Address.parse(url).receiving.options.get("localaddr") == bound


def test_no_password_is_shown() -> None:
    address = Address.parse("rtsp://user:secret@127.0.0.1:8554/door?token=secret")
    assert "secret" in address.url
    assert address.name == "rtsp://user:***@127.0.0.1:8554/door?..."
    assert address.label == "127.0.0.1_8554_door"


def test_offline_means_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECMVAE_OFFLINE", "1")
    for url in ("udp://127.0.0.1:9000", "http://localhost/x", "rtsp://[::1]/x"):
        Address.parse(url)
    with pytest.raises(UserError, match="another machine, and offline mode forbids connections"):
        Address.parse("rtsp://camera.example/x")


def test_a_camera() -> None:
    camera = live_source("0", "hw:1")
    assert isinstance(camera, Camera)
    assert (camera.name, camera.label) == ("camera 0", "camera0")
    if sys.platform == "linux":
        assert (camera.picture.url, camera.picture.format) == ("/dev/video0", "video4linux2")
        assert camera.sound is not None
        assert (camera.sound.url, camera.sound.format) == ("hw:1", "alsa")
    assert Camera(number=0, microphone=None).sound is None
