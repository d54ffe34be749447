"""A small stand-in for the Hub on the loopback interface: repositories in memory, the calls that the client makes.

It is no Hub: no xet storage (tests set HF_HUB_DISABLE_XET), no branches, one user, rules of our own for what is large.
It is strict where a mistake of ours would show: a wrong token, content that does not have the hash it was announced
with, a commit that names content which never came, and a read of what is private.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from programs import HOME, empty_home

USER = "someone"
TOKEN = "hf_" + "a" * 34
LARGE = {".safetensors", ".bin", ".parquet"}

Files = dict[str, bytes]


@dataclass
class StubRepository:
    """A repository: whether it is private, and all files after each commit."""

    private: bool = False
    commits: list[Files] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    @property
    def files(self) -> Files:
        return self.commits[-1] if self.commits else {}

    def revision(self, name: str) -> Files | None:
        """The files of "main" or of a commit."""
        known = {commit_id(number): files for number, files in enumerate(self.commits)}
        return self.files if name == "main" else known.get(name)

    @property
    def head(self) -> str:
        return commit_id(len(self.commits) - 1)


def commit_id(number: int) -> str:
    return hashlib.sha1(str(number).encode()).hexdigest()


class HubStub:
    """The server. In a `with` block it listens; `repositories` has ("model", "someone/name") and so on.

    Attributes:
        requests: (method, path) of each request, in order.
        before: called with (method, path) before each answer. What it returns is the status of a refusal, `None` lets
            the request through; "hang up" ends the connection in the middle of it.
    """

    _port = 0  # the same for one after the other, so that the programs of all tests have the same variables

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], StubRepository] = {}
        self.large_files: Files = {}
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], int | str | None] = lambda method, path: None
        stub = self

        class Handler(_Handler):
            hub = stub

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", HubStub._port), Handler)
        except OSError:  # another one still listens
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        HubStub._port = HubStub._port or self._server.server_port
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubStub":
        empty_home()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self, name: str, kind: str = "model") -> Files:
        """What "main" of a repository holds."""
        return self.repositories[kind, name].files

    def count(self, method: str, part: str) -> int:
        """How many requests there were whose path contains `part`."""
        return sum(known == method and part in path for known, path in self.requests)

    def environment(self, *, offline: bool = False) -> dict[str, str]:
        """Variables for programs that shall use this server, or have used it; their cache is `programs.HOME`."""
        if offline:
            return {"HF_HOME": HOME, "HF_HUB_OFFLINE": "1"}
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": HOME,
            "HF_TOKEN": TOKEN,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


class _Handler(BaseHTTPRequestHandler):
    hub: HubStub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Be silent."""

    def handle_any(self) -> None:
        self.path_only = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, self.path_only))
        refusal = self.hub.before(self.command, self.path_only)
        if refusal == "hang up":
            self.rfile.read(min(1000, int(self.headers.get("Content-Length", 0))))
            self.close_connection = True
            return
        body = self.read_body()
        if refusal is not None:
            self.answer_json({"error": "refused by the test"}, int(refusal))
            return
        parts = self.path_only.strip("/").split("/")
        if self.path_only.startswith("/large/"):
            self.receive_large(parts[1], body)
        elif self.command in ("GET", "HEAD") and "resolve" in parts:
            self.send_file(parts)
        elif parts[0] == "api":
            self.api(parts[1:], body)
        elif parts[-5:-2] != [] and self.path_only.endswith(".git/info/lfs/objects/batch"):
            self.large_files_wanted(json.loads(body))
        else:
            self.answer_json({"error": f"the stub does not know {self.command} {self.path_only}"}, 404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_json(self, value: Any, status: int = 200, **headers: str) -> None:
        self.answer(json.dumps(value).encode(), status, Content_Type="application/json", **headers)

    @property
    def signed_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def find(self, kind: str, name: str) -> StubRepository | None:
        """The repository; without the token a private one looks as if it were not there, as on the Hub."""
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (repository.private and not self.signed_in):
            self.answer_json({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            return None
        return repository

    # uploads

    def api(self, parts: list[str], body: bytes) -> None:
        if parts == ["validate-yaml"]:
            self.answer_json({"errors": [], "warnings": []})
        elif self.command == "POST" and not self.signed_in and "paths-info" not in parts:
            self.answer_json({"error": "Invalid username or password."}, 401)
        elif parts == ["whoami-v2"]:
            self.answer_json({"name": USER, "type": "user", "orgs": [], "auth": {}})
        elif parts == ["repos", "create"]:
            self.create(json.loads(body))
        elif parts[0] in ("models", "datasets") and len(parts) >= 3:
            kind, name = parts[0][:-1], "/".join(parts[1:3])
            repository = self.find(kind, name)
            if repository is not None:
                self.of_repository(repository, kind, name, parts[3:], body)
        else:
            self.answer_json({"error": f"the stub does not know {self.path_only}"}, 404)

    def create(self, wanted: dict[str, Any]) -> None:
        kind = wanted.get("type") or "model"
        name = f"{wanted.get('organization') or USER}/{wanted['name']}"
        address = f"{self.hub.endpoint}/{'' if kind == 'model' else kind + 's/'}{name}"
        if (kind, name) in self.hub.repositories:
            self.answer_json({"error": "You already created this repo", "url": address}, 409)
            return
        private = wanted.get("visibility") == "private" or wanted.get("private") is True
        self.hub.repositories[kind, name] = StubRepository(private, [{}], ["initial commit"])
        self.answer_json({"url": address, "name": name, "id": name})

    def of_repository(self, repository: StubRepository, kind: str, name: str, parts: list[str], body: bytes) -> None:
        action = parts[0] if parts else "revision"
        if self.command == "POST" and action == "preupload":
            self.answer_json({"files": [upload_mode(file, repository) for file in json.loads(body)["files"]]})
        elif self.command == "POST" and action == "commit":
            self.commit(repository, kind, name, [json.loads(line) for line in body.splitlines() if line.strip()])
        else:
            files = repository.revision(parts[1] if len(parts) > 1 else "main")
            if files is None:
                self.answer_json({"error": "no such revision"}, 404, X_Error_Code="RevisionNotFound")
            elif action == "revision":
                siblings = [{"rfilename": path, "size": len(content)} for path, content in files.items()]
                facts = {"id": name, "sha": repository.head, "private": repository.private, "tags": []}
                self.answer_json({**facts, "siblings": siblings, "gated": False, "disabled": False})
            elif action == "tree":
                self.answer_json(tree(files, "/".join(parts[2:]), "recursive=true" in self.path.lower()))
            elif action == "paths-info":
                asked = json.loads(body)["paths"]
                self.answer_json([entry for entry in tree(files, "", True) if entry["path"] in asked])
            else:
                self.answer_json({"error": f"the stub does not know {self.path_only}"}, 404)

    def large_files_wanted(self, wanted: dict[str, Any]) -> None:
        """Where each large file goes; nowhere if it is here already."""
        if not self.signed_in:
            self.answer_json({"error": "Invalid username or password."}, 401)
            return
        objects = [{"oid": item["oid"], "size": item["size"]} for item in wanted["objects"]]
        for item in objects:
            if item["oid"] not in self.hub.large_files:
                item["actions"] = {"upload": {"href": f"{self.hub.endpoint}/large/{item['oid']}"}}
        self.answer_json({"transfer": "basic", "objects": objects})

    def receive_large(self, oid: str, body: bytes) -> None:
        if self.command != "PUT" or hashlib.sha256(body).hexdigest() != oid:
            self.answer_json({"error": "this is not the content that was announced"}, 400)
            return
        self.hub.large_files[oid] = body
        self.answer(b"")

    def commit(self, repository: StubRepository, kind: str, name: str, lines: list[dict[str, Any]]) -> None:
        """All of it or nothing."""
        files = dict(repository.files)
        message = ""
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile" and value["oid"] in self.hub.large_files:
                files[value["path"]] = self.hub.large_files[value["oid"]]
            elif line["key"] == "deletedFile":
                files.pop(value["path"])
            else:
                self.answer_json({"error": f"cannot do {line['key']} {value.get('path')}"}, 400)
                return
        repository.commits.append(files)
        repository.messages.append(message)
        address = f"{self.hub.endpoint}/{'' if kind == 'model' else kind + 's/'}{name}/commit/{repository.head}"
        self.answer_json({"success": True, "commitOid": repository.head, "commitUrl": address})

    # downloads

    def send_file(self, parts: list[str]) -> None:
        """/owner/name/resolve/main/path, or /datasets/owner/name/resolve/..."""
        place = parts.index("resolve")
        kind = "dataset" if parts[0] == "datasets" else "model"
        repository = self.find(kind, "/".join(parts[place - 2 : place]))
        if repository is None:
            return
        files = repository.revision(parts[place + 1])
        content = None if files is None else files.get("/".join(parts[place + 2 :]))
        if content is None:
            self.answer_json({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound")
            return
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X_Repo_Commit": repository.head}
        wanted = self.headers.get("Range", "")
        if not wanted.startswith("bytes="):
            self.answer(content, Accept_Ranges="bytes", **headers)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        piece = content[int(first) : int(last) + 1 if last else None]
        span = f"bytes {first}-{int(first) + len(piece) - 1}/{len(content)}"
        self.answer(piece, 206, Content_Range=span, **headers)


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def upload_mode(file: dict[str, Any], repository: StubRepository) -> dict[str, Any]:
    large = PurePosixPath(file["path"]).suffix in LARGE
    known = repository.files.get(file["path"])
    oid = None if known is None else hashlib.sha256(known).hexdigest() if large else git_hash(known)
    return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}


def tree(files: Files, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """What the Hub lists of a folder: files, and folders with them."""
    entries: dict[str, dict[str, Any]] = {}
    for path, content in sorted(files.items()):
        if folder and not path.startswith(folder + "/"):
            continue
        for parent in reversed(PurePosixPath(path).parents):
            if str(parent) not in (".", folder) and not folder.startswith(f"{parent}/"):
                entries[str(parent)] = {"type": "directory", "path": str(parent), "oid": "0" * 40, "size": 0}
        entry = {"type": "file", "path": path, "oid": git_hash(content), "size": len(content)}
        if PurePosixPath(path).suffix in LARGE:
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        entries[path] = entry
    depth = folder.count("/") + 1 if folder else 0
    return [entry for path, entry in entries.items() if recursive or path.count("/") == depth]
