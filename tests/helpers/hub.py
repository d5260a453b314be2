"""Stand-in for a model hub: an HTTP server on this machine that speaks the hub's protocol.

It has repositories with commits, answers HEAD and GET of ``resolve`` with the headers that clients
rely on (commit, ETag, size, a redirect to where the bytes are), lists trees, and takes commits.
"""

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

TOKEN = "hf_token-of-the-test"


class Hub(http.server.ThreadingHTTPServer):
    """Repositories by name: commits, each with its files. The last commit is the branch ``main``.

    Attributes:
        repositories: Repository -> commit -> path -> content.
        refused: Repository -> header X-Error-Code of a hub that refuses it.
        requests: Method and path of each request.
        speaks: Whether it is a hub at all; another server answers everything with a page.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refused: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self.speaks = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def bytes_url(self) -> str:
        """Where redirects lead: another host, as a hub's storage is."""
        return self.url.replace("127.0.0.1", "localhost")

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        """Add a commit on top of the newest one; returns its name."""
        commits = self.repositories.setdefault(repository, {})
        newest = list(commits.values())[-1] if commits else {}
        content = {**newest, **files}
        text = repr(
            [len(commits), sorted((k, hashlib.sha1(v).digest()) for k, v in content.items())]
        )
        name = hashlib.sha1(text.encode()).hexdigest()
        commits[name] = content
        return name

    def files(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files of a revision."""
        commits = self.repositories.get(repository, {})
        if revision == "main" and commits:
            revision = list(commits)[-1]
        return (revision, commits[revision]) if revision in commits else None


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None):
        self.send_response(status)
        headers = {"Content-Length": str(len(content))} | (headers or {})
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, content, status: int = 200):
        self._answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _error(self, code: str):
        status = {"GatedRepo": 403, "RepoNotFound": 401, "Down": 500}.get(code, 404)
        self._answer(status, headers={"X-Error-Code": code, "X-Error-Message": code})

    def _found(self, repository: str, revision: str):
        if repository in self.server.refused:
            return self._error(self.server.refused[repository])
        if repository not in self.server.repositories:
            return self._error("RepoNotFound")
        found = self.server.files(repository, revision)
        return found or self._error("RevisionNotFound")

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path))
        if not self.server.speaks:
            return self._answer(200, b"<html>", {"Content-Type": "text/html"})
        if match := re.fullmatch(r"/blobs/([^/]+/[^/]+)/([0-9a-f]{40})/(.+)", path):
            return self._blob(*match.groups())
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self._about(match[1], match[2] or "main")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            return self._tree(*match.groups())
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(*match.groups())
        return self._error("NoSuchPath")

    do_HEAD = do_GET

    def _resolve(self, repository: str, revision: str, file: str):
        if not (found := self._found(repository, revision)):
            return None
        commit, files = found
        if file not in files:
            return self._error("EntryNotFound")
        headers = {
            "X-Repo-Commit": commit,
            "ETag": f'"{hashlib.sha256(files[file]).hexdigest()}"',
            "X-Linked-Size": str(len(files[file])),
            "X-Linked-Etag": f'"{hashlib.sha256(files[file]).hexdigest()}"',
            "Location": f"{self.server.bytes_url}/blobs/{repository}/{commit}/{file}",
        }
        return self._answer(302, b"", headers)

    def _blob(self, repository: str, commit: str, file: str):
        content = self.server.repositories[repository][commit][file]
        given = self.headers.get("Range")
        start = int(re.fullmatch(r"bytes=(\d+)-\d*", given)[1]) if given else 0
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if given:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self._answer(206 if given else 200, content[start:], headers)

    def _about(self, repository: str, revision: str):
        if found := self._found(repository, revision):
            siblings = [{"rfilename": name} for name in found[1]]
            about = {"id": repository, "modelId": repository, "sha": found[0]}
            self._json(about | {"private": False, "tags": [], "siblings": siblings})

    def _tree(self, repository: str, revision: str):
        if found := self._found(repository, revision):
            self._json(
                [
                    {
                        "type": "file",
                        "path": name,
                        "size": len(content),
                        "oid": hashlib.sha1(content).hexdigest(),
                    }
                    for name, content in found[1].items()
                ]
            )

    def do_POST(self):
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(("POST", path))
        body = self._body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, b"{}")
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            about = json.loads(body)
            name = "/".join(filter(None, [about.get("organization"), about["name"]]))
            self.server.repositories.setdefault(name, {})
            return self._json({"url": f"{self.server.url}/{name}", "name": name, "id": name})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            lines = [json.loads(line) for line in body.splitlines() if line.strip()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            name = self.server.commit(match[1], files)
            where = f"{self.server.url}/{match[1]}/commit/{name}"
            return self._json({"success": True, "commitOid": name, "commitUrl": where})
        return self._error("NoSuchPath")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *args):
        """Keep the test's output quiet."""


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that answers until the context ends."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
