"""A hub on this machine: as much of the Hugging Face hub's protocol as fetching and pushing a model folder needs."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest


@dataclass
class FakeHub:
    """Repositories in memory, one commit each; files of more than 10 kB are kept as large files, by their SHA-256."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    cut_after: int | None = None  # bytes of a large file after which the connection is closed
    cuts: int = 1_000_000  # how often that happens
    swapped: bytes | None = None  # sent in place of a large file
    uploaded: dict[str, bytes] = field(default_factory=dict)
    # repository -> the only token that has accepted its terms
    gated: dict[str, str] = field(default_factory=dict)
    ranges: list[str] = field(default_factory=list)  # of large files that were asked for in part

    def add(self, repository: str, folder: Path) -> None:
        self.files[repository] = {path.name: path.read_bytes() for path in folder.iterdir()}

    def commit(self, repository: str) -> str:
        text = repr(
            sorted(
                (name, hashlib.sha1(data).hexdigest())
                for name, data in self.files[repository].items()
            )
        )
        return hashlib.sha1(text.encode()).hexdigest()


def is_large(data: bytes) -> bool:
    return len(data) > 10_000


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[FakeHub]:
    """Serve a hub and make huggingface_hub use it, with its cache in a folder of the test."""
    from huggingface_hub import constants

    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for name, value in {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(cache),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_TOKEN_PATH": str(cache / "no-token"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("ECMVAE_OFFLINE", raising=False)
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_HEAD(self) -> None:
        self._resolve(send=False)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        parts = path.strip("/").split("/")
        if parts[:2] != ["api", "models"]:
            self._resolve(send=True)
            return
        repository = "/".join(parts[2:4])
        self.hub.requests.append(f"GET {path}")
        if repository not in self.hub.files:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return
        commit = self.hub.commit(repository)
        if len(parts) > 5 and unquote(parts[5]) not in ("main", commit):
            self._json({"error": "no revision"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return
        if "tree" in parts:
            self._json([_entry(name, data) for name, data in self.hub.files[repository].items()])
            return
        self._json({"id": repository, "sha": commit, "siblings": [], "private": False, "tags": []})

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"POST {path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked.get('organization')}/{asked['name']}"
            self.hub.files.setdefault(repository, {})
            self._json({"url": f"{self.hub.url}/{repository}", "name": repository})
            return
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
            return
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.hub.url}/upload/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
            return
        repository = "/".join(path.split("/")[3:5])
        if "/preupload/" in path:
            modes = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["size"] > 10_000 else "regular",
                    "shouldIgnore": False,
                }
                for each in json.loads(body)["files"]
            ]
            self._json({"files": modes})
            return
        files = self.hub.files[repository]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploaded[value["oid"]]
        commit = self.hub.commit(repository)
        self._json(
            {"commitUrl": f"{self.hub.url}/{repository}/commit/{commit}", "commitOid": commit}
        )
        return

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.uploaded[hashlib.sha256(data).hexdigest()] = data
        self._json({})

    def _resolve(self, *, send: bool) -> None:
        """A file, at /owner/name/resolve/REVISION/FILE."""
        parts = urlsplit(self.path).path.strip("/").split("/")
        repository, name = "/".join(parts[:2]), parts[-1]
        self.hub.requests.append(f"{self.command} {name}")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repository in self.hub.gated and token != self.hub.gated[repository]:
            status = 403 if token else 401
            self._json({"error": "Access is restricted"}, status, {"X-Error-Code": "GatedRepo"})
            return
        data = self.hub.files.get(repository, {}).get(name)
        if data is None:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        etag = hashlib.sha256(data).hexdigest() if is_large(data) else _git_id(data)
        sent = self.hub.swapped if is_large(data) and self.hub.swapped is not None else data
        wanted = self.headers.get("Range") if send else None
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        if start:
            self.hub.ranges.append(f"{name} {wanted}")
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", self.hub.commit(repository))
        self.send_header("Content-Length", str(len(sent) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(sent) - 1}/{len(sent)}")
        self.end_headers()
        if send:
            cut = is_large(data) and self.hub.cut_after is not None and self.hub.cuts > 0
            self.hub.cuts -= cut
            self.wfile.write(sent[start : self.hub.cut_after] if cut else sent[start:])

    def _json(
        self, answer: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for key, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(name: str, data: bytes) -> dict[str, object]:
    large = {
        "lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    }
    return {
        "type": "file",
        "path": name,
        "size": len(data),
        "oid": _git_id(data),
        **(large if is_large(data) else {}),
    }


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
