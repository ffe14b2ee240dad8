"""Downloads, from servers on this machine that serve small files."""

import hashlib
import io
import logging
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pooch
import pytest

from fastconv.data import DataError, MissingData
from fastconv.data.download import CIFAR10_FILES, MNIST_FILES, RemoteFile, cache_folder, download

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Mirrors:
    """A server with a folder for each kind of mirror, and a note of what was asked for."""

    def __init__(self):
        self.asked = []
        mirrors = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                kind, _, name = self.path.strip("/").partition("/")
                mirrors.asked.append((kind, name))
                content, length = CONTENT, len(CONTENT)
                if kind == "wrong":
                    content = bytes(length)
                if kind == "short":
                    content = CONTENT[:1000]
                self.send_response({"missing": 404, "broken": 500}.get(kind, 200))
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def file(self, *kinds, name="images.gz"):
        root = f"http://127.0.0.1:{self.server.server_port}"
        return RemoteFile(name, SHA256, tuple(f"{root}/{kind}/" for kind in kinds))

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def mirrors(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Mirrors()
    yield server
    server.close()


def test_files_are_written_to_a_folder_that_is_made_for_them(mirrors, tmp_path):
    files = [mirrors.file("right", name=name) for name in ("images.gz", "labels.gz")]
    folder = download("made", files, tmp_path / "cache" / "made")
    assert folder == tmp_path / "cache" / "made"
    for name in ("images.gz", "labels.gz"):
        assert (folder / name).read_bytes() == CONTENT


@pytest.mark.parametrize("first", ["missing", "broken", "wrong", "short"])
def test_the_second_mirror_is_asked_where_the_first_fails(mirrors, tmp_path, first):
    download("made", [mirrors.file(first, "right")], tmp_path)
    assert [kind for kind, _ in mirrors.asked] == [first, "right"]
    assert [file.name for file in tmp_path.iterdir()] == ["images.gz"]
    assert (tmp_path / "images.gz").read_bytes() == CONTENT


def test_a_download_writes_no_line_for_each_file(mirrors, tmp_path):
    logger, written = pooch.get_logger(), io.StringIO()
    handler, level = logging.StreamHandler(written), logger.level
    logger.addHandler(handler)
    try:
        download("made", [mirrors.file("wrong", "right")], tmp_path)
    finally:
        logger.removeHandler(handler)
    assert written.getvalue() == ""
    assert logger.level == level  # What others want to know from pooch is as it was.


def test_the_second_mirror_is_not_asked_where_the_first_is_right(mirrors, tmp_path):
    download("made", [mirrors.file("right", "wrong")], tmp_path)
    assert [kind for kind, _ in mirrors.asked] == ["right"]


def test_a_mirror_that_cannot_be_reached_is_passed_over(mirrors, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        file = RemoteFile("images.gz", SHA256, (closed, *mirrors.file("right").mirrors))
        download("made", [file], tmp_path)
    assert (tmp_path / "images.gz").read_bytes() == CONTENT


def test_when_all_mirrors_fail_one_line_says_what_is_missing_and_what_to_do(mirrors, tmp_path):
    kinds = ("missing", "wrong", "short")
    with pytest.raises(MissingData) as caught:
        download("made", [mirrors.file(*kinds)], tmp_path)
    message = str(caught.value)
    for part in ("made: images.gz", str(tmp_path), "--data-dir", "FASTCONV_DATA",
                 "missing/ answered HTTP 404", "wrong/ sent a file with another checksum",
                 "short/ could not be reached"):  # fmt: skip
        assert part in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_downloaded_again(mirrors, tmp_path):
    (tmp_path / "images.gz").write_bytes(CONTENT)
    download("made", [mirrors.file("right")], tmp_path)
    assert mirrors.asked == []


def test_a_damaged_file_is_replaced(mirrors, tmp_path):
    (tmp_path / "images.gz").write_bytes(CONTENT[:-1])
    download("made", [mirrors.file("right")], tmp_path)
    assert (tmp_path / "images.gz").read_bytes() == CONTENT


def refused_by_the_folder(mirrors, folder):
    with pytest.raises(DataError) as caught:
        download("made", [mirrors.file("right", "right")], folder)
    message = str(caught.value)
    assert message.startswith(f"made: images.gz cannot be written to {folder} (")
    assert "FASTCONV_DATA" in message
    assert "\n" not in message
    assert not isinstance(caught.value, MissingData)
    return message


def test_a_file_in_the_place_of_the_folder_is_one_line(mirrors, tmp_path):
    (tmp_path / "cache").write_text("")
    refused_by_the_folder(mirrors, tmp_path / "cache" / "made")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write to any folder"
)
def test_a_folder_without_write_permission_is_one_line(mirrors, tmp_path):
    tmp_path.chmod(0o500)
    try:
        refused_by_the_folder(mirrors, tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_can_hold_no_more_is_one_line_and_nothing_is_left(mirrors, tmp_path):
    resource = pytest.importorskip("resource")
    # A limit on the size of files stands for a full disk: both end a write half way.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        message = refused_by_the_folder(mirrors, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in message
    assert list(tmp_path.iterdir()) == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_there_is_a_progress_bar_on_a_terminal_only(mirrors, tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        download("made", [mirrors.file("right")], tmp_path / str(shown))
        assert ("images.gz" in stream.getvalue()) is shown
        assert (stream.getvalue() == "") is not shown


def test_the_cache_is_in_the_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder().name == "fastconv"
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "fastconv"


@pytest.mark.parametrize("file", [*MNIST_FILES, *CIFAR10_FILES], ids=lambda file: file.name)
def test_every_file_has_a_checksum_and_a_second_mirror_over_https(file):
    assert len(bytes.fromhex(file.sha256)) == 32
    assert len(file.mirrors) >= 2
    assert all(url.startswith("https://") and url.endswith("/") for url in file.mirrors)
