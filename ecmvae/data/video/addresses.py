"""What may be opened beside files: cameras by their number, streams by their address. Nothing is opened here.

An address is opened only where the user has named it on the command line or in a call, never because a file, a list
or a server names it. FFmpeg is told which protocols and which formats may be used: a stream cannot make it read a local
file, nor send it to another address, be it by a playlist (HLS, DASH, concat) or by a redirection.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from ecmvae.errors import UserError
from ecmvae.foreign_text import cut, short
from ecmvae.hub.client import is_offline

_PROTOCOLS = {
    "rtsp": "tcp",
    "rtsps": "tcp,tls",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,rtmp,tls,tcp",
    "http": "http,httpproxy,tcp",
    "https": "https,httpproxy,tls,tcp",
    "tcp": "tcp",
    "udp": "udp",
}
"""Scheme of an address -> protocols that FFmpeg may use for it."""
_FORMATS = (
    "mpegts,mov,matroska,flv,live_flv,ogg,nut,asf,avi,mpeg,rtsp,mpjpeg,mjpeg,h264,hevc,ivf,aac,mp3,wav,"
    "video4linux2,alsa,avfoundation"
)
"""What may arrive: no playlist, and nothing else that names other addresses."""
_MUXERS = {"rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "flv", "rtmps": "flv"}
"""How a picture is sent; otherwise as an MPEG transport stream."""
_PROBED = "2000000"  # microseconds that FFmpeg looks at before it says what arrives
_LONGEST_LABEL = 60


@dataclass(frozen=True, kw_only=True)
class Input:
    """What FFmpeg is asked to open."""

    url: str
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Address:
    """A stream that the user has named.

    Attributes:
        url: As it was written, password included.
        name: For people: without password, on one line.
        label: Of files.
        scheme: Such as "rtsp".
        host: Name or number; "" for any.
    """

    url: str
    name: str
    label: str
    scheme: str
    host: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address.

        Raises:
            UserError: If it is malformed, of a kind that is not opened, or connections to other machines are forbidden.
        """
        try:
            parts = urlsplit(text)
            host, port, password = parts.hostname or "", parts.port, parts.password
        except ValueError as error:
            raise UserError(
                f"{short(text)} is not an address ({error}): write rtsp://HOST:PORT/PATH"
            ) from None
        if not text.isprintable() or " " in text:
            raise UserError(
                f"{short(text)} is not an address: it holds spaces or characters that are not text"
            )
        scheme = parts.scheme.lower()
        if scheme == "file":
            raise UserError(f"{cut(text)} is a file: name its path, without file://")
        if scheme not in _PROTOCOLS:
            raise UserError(
                f"unknown kind of address {cut(text)}: known are {', '.join(f'{k}://' for k in _PROTOCOLS)}"
            )
        if scheme in ("tcp", "udp") and port is None:
            raise UserError(
                f"{cut(text)} lacks a port: write {scheme}://{host or '127.0.0.1'}:PORT"
            )
        if is_offline() and not _is_loopback(host):
            raise UserError(
                f"{cut(host)} is another machine, and offline mode forbids connections: unset HF_HUB_OFFLINE and "
                "ECMVAE_OFFLINE"
            )
        return cls(
            url=text, name=_shown(parts, password), label=_label(parts), scheme=scheme, host=host
        )

    @property
    def receiving(self) -> Input:
        """How it is opened for reading."""
        options = {
            **self._allowed,
            "format_whitelist": _FORMATS,
            "analyzeduration": _PROBED,
            "fpsprobesize": "3",
        }
        if self.scheme in ("rtsp", "rtsps"):
            options["rtsp_transport"] = (
                "tcp"  # picture and sound come in the connection itself, from nowhere else
            )
        if self.scheme == "udp" and (bound := self._bound):
            options["localaddr"] = bound
        return Input(url=self.url, options=options)

    @property
    def sending(self) -> dict[str, str]:
        """Options for writing to it."""
        return {**self._allowed, **({"rtsp_transport": "tcp"} if self.muxer == "rtsp" else {})}

    @property
    def muxer(self) -> str:
        """FFmpeg's name of the format that is sent."""
        return _MUXERS.get(self.scheme, "mpegts")

    @property
    def _allowed(self) -> dict[str, str]:
        redirections = {"max_redirects": "0"} if self.scheme in ("http", "https") else {}
        return {"protocol_whitelist": _PROTOCOLS[self.scheme], **redirections}

    @property
    def _bound(self) -> str:
        """The address of this machine at which packets are taken; FFmpeg by itself would take them at every one."""
        if self.host in ("", "localhost"):
            return "127.0.0.1"
        try:
            number = ipaddress.ip_address(self.host)
        except ValueError:
            return self.host
        return "" if number.is_multicast or number.is_unspecified else self.host


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera of this machine and, beside it, a microphone.

    Attributes:
        number: From 0.
        microphone: What the system calls it; None = no sound.
    """

    number: int
    microphone: str | None = "default"

    @property
    def name(self) -> str:
        """For people."""
        return f"camera {self.number}"

    @property
    def label(self) -> str:
        """Of files."""
        return f"camera{self.number}"

    @property
    def picture(self) -> Input:
        """How the camera is opened."""
        return _camera_input(self.number)

    @property
    def sound(self) -> Input | None:
        """How the microphone is opened."""
        return None if self.microphone is None else _microphone_input(self.microphone)


LiveSource = Address | Camera


def live_source(name: str, microphone: str | None = "default") -> LiveSource:
    """What a name stands for, a camera's number or an address.

    Raises:
        UserError: If it is an address that cannot be opened.
    """
    if "://" in name:
        return Address.parse(name)
    if sys.platform == "win32":
        raise UserError(
            "cameras are opened on Linux and macOS: on Windows send the camera as a stream, see docs/live.md"
        )
    if len(name) > 3:
        raise UserError(f"{short(name)} is not a camera number: cameras are numbered from 0")
    return Camera(number=int(name), microphone=microphone)


def _camera_input(number: int) -> Input:
    """FFmpeg's device for camera `number` of this system; one clock for picture and sound, the machine's."""
    options = {"use_wallclock_as_timestamps": "1"}
    if sys.platform == "darwin":
        return Input(
            url=f"{number}:none", format="avfoundation", options={**options, "framerate": "30"}
        )
    return Input(url=f"/dev/video{number}", format="video4linux2", options=options)


def _microphone_input(name: str) -> Input:
    options = {"use_wallclock_as_timestamps": "1"}
    if sys.platform == "darwin":
        return Input(url=f"none:{name}", format="avfoundation", options=options)
    return Input(url=name, format="alsa", options=options)


def _is_loopback(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(parts: SplitResult, password: str | None) -> str:
    """The address without its password; what follows a question mark may hold one, too."""
    place = parts.netloc
    if password is not None:
        account, _, host = place.rpartition("@")
        place = f"{account.partition(':')[0]}:***@{host}"
    query = "?..." if parts.query else ""
    return cut(f"{parts.scheme}://{place}{parts.path}{query}")


def _label(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2]
    return (
        re.sub(r"[^A-Za-z0-9.-]+", "_", host + parts.path).strip("_.-")[:_LONGEST_LABEL]
        or parts.scheme
    )
