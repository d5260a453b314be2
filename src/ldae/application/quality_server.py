"""Server of the page of quality: shows it to one browser, writes each rating to the file at once.

It listens on 127.0.0.1 alone, so it is reached from the same machine or through an ssh tunnel. A
random token in every address keeps out other users of the machine; the Host and Origin of a request
must be this machine's, which keeps out pages of other sites.
"""

import json
import logging
import secrets
import threading
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd

from ldae.cohort.ratings import COLUMNS, RATING_COLUMNS, VERDICTS, read_ratings, write_ratings
from ldae.delimited import is_there, read_tsv
from ldae.errors import UserError, require
from ldae.files import MISSING, read_json
from ldae.labels import listing
from ldae.preprocess.qc_page import FILES

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")  # by which a browser may know it, at any port of a tunnel
PAGE, MEASURES = "qc/index.html", "qc/measures.tsv"
NO_PAGE = (
    f"{{}} has no page of quality ({PAGE}). Run the target `qc` first, or name the results folder "
    "of the run."
)
PLACE = 'data-server=""'  # in the page: the address of the ratings, where there is a server
LARGEST = 10_000  # bytes of a rating
LONGEST = 1000  # characters of a value
TYPES = {".html": "text/html", ".js": "text/javascript", ".webp": "image/webp"}
POLICY = "default-src 'self' data: blob: 'unsafe-inline'; frame-ancestors 'none'"
log = logging.getLogger(__name__)


def require_page(results: Path) -> None:
    """Refuse a folder without the page.

    Raises:
        UserError: there is none.
    """
    there = (results / PAGE).is_file() and (results / MEASURES).is_file()
    require(there, NO_PAGE.format(results))


def rating_file(results: Path) -> Path:
    """The file of decisions that a run reads (``cohort.exclude``), relative as it is configured.

    Raises:
        UserError: there is no page, or the run reads no file or several.
    """
    path = results / Path(PAGE).parent / FILES
    require(path.is_file(), NO_PAGE.format(results))
    files = read_json(path)
    require(
        len(files) == 1,
        f"The run reads {listing(files) if files else 'no file'} (cohort.exclude): name yours by "
        "--out.",
    )
    return Path(files[0])


class RatingFile:
    """The file of one rater's ratings; it is read anew before each change.

    Args:
        path: TSV of ``cohort.exclude``; made with the first rating if it does not exist.
        rater: Name of the rater, written into each new row.
        scan_ids: Scans that may be rated.
    """

    def __init__(self, path: Path, rater: str, scan_ids: set[str]):
        self.path, self.rater, self.scan_ids = path, rater, scan_ids
        self._lock = threading.Lock()
        self.rows()

    def rows(self) -> pd.DataFrame:
        """Ratings in the file.

        Raises:
            UserError: see :func:`ldae.cohort.ratings.read_ratings`.
        """
        if not is_there(self.path):
            return pd.DataFrame(columns=RATING_COLUMNS, dtype=object)
        return read_ratings(self.path)

    def give(
        self, scan_id: str, verdict: str, reason: str, picture: str, known: str | None = None
    ) -> dict[str, str]:
        """Write one rating; an empty verdict takes it back. Other rows stay as they are.

        Args:
            scan_id, verdict, reason, picture: The columns of the row.
            known: Date of the scan's row that the rater has seen, "" for none; None: any. So a
                row that was deleted or changed by hand meanwhile is not written over.

        Returns:
            The row, with rater and date; its verdict is "" if it was taken back.

        Raises:
            UserError: the scan is not known, the verdict is none, there is no reason, or the file
                has another row of the scan than the rater has seen.
        """
        require(scan_id in self.scan_ids, f"{scan_id!r} is no scan of this page.")
        require(verdict in ("", *VERDICTS), f"{verdict!r} is none of {', '.join(VERDICTS)}.")
        words = [" ".join(text.replace('"', "'").split()) for text in (reason, picture)]
        require(
            not verdict or words[0] not in ("", MISSING), f"The rating of {scan_id} has no reason."
        )
        require(max(map(len, words)) <= LONGEST, f"The reason has more than {LONGEST} characters.")
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        row = [scan_id, verdict, words[0], self.rater, date, words[1]]
        with self._lock:
            before = self.rows()
            mine = before["scan_id"] == scan_id
            found = "".join(before.loc[mine, "date"])  # one row, or none
            require(
                known in (None, found),
                f"The row of {scan_id} in {self.path} was changed or deleted since this page read "
                "it. The page shows it as it is now: rate the scan again.",
            )
            others = before[~mine]
            new = pd.DataFrame([row] if verdict else [], columns=RATING_COLUMNS, dtype=object)
            table = pd.concat([others, new], ignore_index=True).fillna("")
            write_ratings(table, self.path)
        return dict(zip(RATING_COLUMNS, row, strict=True))


class QualityServer(ThreadingHTTPServer):
    """The page of quality of a results folder at ``address``.

    Args:
        results: paths.results of a run whose page is made.
        path: The rater's file.
        rater: The rater.
        port: 0: any that is free.

    Raises:
        UserError: there is no page, or the file of ratings cannot be read.
        OSError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, results: Path, path: Path, rater: str, port: int = 0):
        self.results = results.resolve()
        require_page(results)
        scans = read_tsv(self.results / MEASURES, COLUMNS[:1])["scan_id"]
        self.ratings = RatingFile(path, rater, set(scans))
        self.token = secrets.token_urlsafe(24)
        super().__init__((ADDRESS, port), _Handler)

    @property
    def address(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/{PAGE}"


class _Handler(BaseHTTPRequestHandler):
    server: QualityServer
    server_version, sys_version = "ldae", ""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)

    def _answer(self, work) -> None:
        """Do the work of a request that may be made; errors are answered as JSON."""
        try:
            work(self._place())
        except _Refused as refused:
            self._send_json({"error": str(refused)}, refused.status)
        except (UserError, OSError) as error:  # such as a file that was edited wrongly meanwhile
            log.error("%s", error)
            self._send_json({"error": str(error)}, HTTPStatus.CONFLICT)

    def _place(self) -> str:
        """The place that is asked for, below the token.

        Raises:
            _Refused: the token is wrong, or the request comes from elsewhere.
        """
        host = self.headers.get("Host", "")
        if host.rpartition(":")[0] not in NAMES:
            raise _Refused(HTTPStatus.FORBIDDEN, "This host is not served.")
        origin = self.headers.get("Origin")
        if origin not in (None, f"http://{host}") or (origin is None and self.command == "POST"):
            raise _Refused(HTTPStatus.FORBIDDEN, "Another page may not ask.")
        token, _, rest = urlsplit(self.path).path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise _Refused(HTTPStatus.FORBIDDEN, "The token is missing or wrong.")
        place = unquote(rest)
        if "\0" in place:
            raise _Refused(HTTPStatus.BAD_REQUEST, "This is no address.")
        return place

    def _get(self, place: str) -> None:
        ratings = self.server.ratings
        if place == "ratings":
            rows = ratings.rows().to_dict("records")
            about = {"rater": ratings.rater, "file": str(ratings.path), "ratings": rows}
            self._send_json(about)
            return
        content = self._file(place).read_bytes()
        if place == PAGE:
            content = content.replace(PLACE.encode(), b'data-server="../ratings"', 1)
        self._send(content, TYPES[Path(place).suffix])

    def _file(self, place: str) -> Path:
        """A file of the page: no other file of the results is served.

        Raises:
            _Refused: it is none, or does not exist.
        """
        path = (self.server.results / place).resolve()
        pages, pictures = ((self.server.results / name).resolve() for name in ("qc", "preproc"))
        of_page = path.is_relative_to(pages) and path.suffix in TYPES
        picture = path.name.endswith("_desc-qc.webp")
        inside = picture and path.is_relative_to(pictures)
        if not ((of_page or inside) and path.is_file()):
            raise _Refused(HTTPStatus.NOT_FOUND, f"{place} is no file of the page.")
        return path

    def _post(self, place: str) -> None:
        size = self.headers.get("Content-Length", "")
        if place != "ratings" or not size.isdigit() or int(size) > LARGEST:
            raise _Refused(HTTPStatus.BAD_REQUEST, "This is no rating.")
        if self.headers.get("Content-Type") != "application/json":
            raise _Refused(HTTPStatus.BAD_REQUEST, "A rating is JSON.")
        try:
            given = json.loads(self.rfile.read(int(size)))
            texts = [given[name] for name in (*COLUMNS, "picture", "known")]
        except (ValueError, TypeError, KeyError) as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, "This is no rating.") from error
        if not all(isinstance(text, str) for text in texts):
            raise _Refused(HTTPStatus.BAD_REQUEST, "This is no rating.")
        self._send_json(self.server.ratings.give(*texts))

    def _send_json(self, content: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(content)),
            # Pictures are named by their checksum; all else may change.
            "Cache-Control": "max-age=86400" if kind == TYPES[".webp"] else "no-store",
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class _Refused(Exception):
    """A request that is not served, with the status to answer."""

    def __init__(self, status: HTTPStatus, text: str):
        super().__init__(text)
        self.status = status
