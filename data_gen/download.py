"""Downloads one file over https, and checks its digest at every later use.

For a problem with a file on the web as its corpus: call `fetch` in its `source_files`; `unpacked` of
data_gen/extract.py unpacks an archive:

    @register_problem
    class Menus(ParallelText):
        \"\"\"Menus, English to German. Source: …\"\"\"
        sides = ("en", "de")

        @functools.cached_property
        def folder(self):
            return unpacked(fetch("https://example.org/menus.tar.gz", sha256="9f86d0…"))

Without a known `sha256`, the digest of the first download is stored in `digests.json` beside the file, and every later
use and download must match it. TFDS downloads its data sets with its own download manager, which has its own checksums
(`readers/tfds_data.py`).
"""

import hashlib
import http.client
import json
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request

from t2t_multimodel.data_gen import files
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.errors import UserError
from t2t_multimodel.files import write_file
from t2t_multimodel.json_files import MissingFile, Whole, read_json

DIGESTS_FILE = "digests.json"
_BLOCK = 1 << 20


def fetch(url, *, sha256=None, open_url=None):
    """The `Path` of the file at `url`; downloads it if it is missing.

    The file is stored in `files/` of the download folder; an interrupted download leaves nothing.

    Args:
      url: starts with https://.
      sha256: the digest that the file must have, in hexadecimal; None: the digest of the first download.
      open_url: `url → response` with `read(size)`, `headers` and `url`, for tests; default: urllib, https only.

    Raises:
      MissingCorpus: the file is missing and can't be downloaded.
      UserError: the url is not https, or the digest is wrong; a wrong download is removed.
    """
    _only_https(url)
    folder = corpora.download_folder() / "files"
    path = folder / _file_name(url)
    if not path.exists() and not corpora.may_write():
        raise corpora.MissingCorpus(f"{url} is not downloaded yet; without --dry_run it is, to {path}")
    with files.only_one(folder):
        recorded = _recorded(folder)
        before = recorded.get(url, {}).get("sha256")
        expected = (sha256 or before or "").lower()
        if path.exists():
            found = files.sha256_of(path)
            if expected != found:
                said = f"its sha256 is {found}, not {expected}" if expected else "it is no download of ours"
                raise UserError(f"{path}: {said}: it was damaged or replaced; remove it to have it downloaded again")
            return path
        found = _download(url, path, expected, open_url or _open)
        recorded[url] = {"sha256": found, "bytes": path.stat().st_size, "file": path.name}
        write_file(folder / DIGESTS_FILE, (json.dumps(recorded, indent=2) + "\n").encode())
        return path


def _download(url, path, expected, open_url):
    """Downloads to `path`, completely or not at all; returns the sha256."""
    part = path.with_name(f"{files.INCOMPLETE}{path.name}")
    digest, size = hashlib.sha256(), 0
    try:
        with open_url(url) as response, files.new_file(part) as file:
            _only_https(response.url)
            promised = _promised(response)
            while block := response.read(_BLOCK):
                file.write(block)
                digest.update(block)
                size += len(block)
                if promised is not None and size > promised:
                    raise UserError(f"{url}: more than the {promised:,} bytes that it promised; nothing is kept")
            file.flush()
            os.fsync(file.fileno())
        if promised is not None and promised != size:
            raise corpora.MissingCorpus(f"{url}: the connection broke off after {size:,} of {promised:,} bytes")
        if expected and digest.hexdigest() != expected:
            raise UserError(
                f"{url}: what came has the sha256 {digest.hexdigest()}, not {expected}: another file than before, or "
                "one that was changed on the way; nothing is kept"
            )
        os.replace(part, path)
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise corpora.MissingCorpus(
            f"{url} can't be downloaded ({reason}); a copy of the file may lie at {path}, where its sha256 is known"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return digest.hexdigest()


def _recorded(folder):
    """{url: {"sha256", "bytes", "file"}}"""
    schema = {str: {"sha256": str, "bytes": Whole(0), "file": str}}
    try:
        return read_json(folder / DIGESTS_FILE, schema, "remove it, and the files beside it if you do not trust them")
    except MissingFile:
        return {}


def _promised(response):
    """The bytes that a response says it has; None if it does not say."""
    said = response.headers.get("Content-Length")
    return int(said) if said is not None and said.isdecimal() else None


def _file_name(url):
    """The last part of the url's path, after a digest of the url, since several urls may end alike."""
    last = urllib.parse.urlsplit(url).path.rstrip("/").rpartition("/")[2]
    safe = re.sub(r"[^\w.\-]", "_", last).lstrip(".")[-80:]
    return f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{safe or 'file'}"


def _only_https(url):
    if not url.startswith("https://"):
        raise UserError(f"{url}: only https is downloaded from; what comes by {url.partition(':')[0]} may be anything")


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, file, code, message, headers, new_url):
        _only_https(new_url)
        return super().redirect_request(request, file, code, message, headers, new_url)


def _open(url):
    return urllib.request.build_opener(_HttpsRedirects).open(url, timeout=20)
