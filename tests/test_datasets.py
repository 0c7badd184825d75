"""
The data door against a real HTTP server that misbehaves: it drops connections midway, stalls, lies
about length, serves garbage, ignores ranges, sends elsewhere, and answers 404, 429 and 500. After each of
these the file is either there, whole and right, or absent, and the user is told why in one line.
"""

import hashlib
import io
import json
import re
import sys
import threading
import zipfile
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bpe import datasets, sets
from bpe.sets import File, Set

BODY = np.random.default_rng(0).bytes(1_000_003)  # odd, and longer than one read
SUM = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers each request in the next mood of `moods` ("ok" when they are used up) and notes its Range."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.moods, self.ranges = files, [], []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        mood = self.server.moods.pop(0) if self.server.moods else "ok"
        if isinstance(mood, tuple):                 # (status, headers)
            return self.reply(mood[0], b"", mood[1])
        if (body := self.server.files.get(self.path)) is None:
            return self.reply(404, b"")
        if mood == "html":
            return self.reply(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
        if mood == "garbage":
            body = bytes(len(body))
        if asked is None or mood == "no range":
            return self.reply(200, body, mood=mood)
        first, last = asked.removeprefix("bytes=").split("-")
        first, last = int(first), int(last or len(body) - 1)
        if first >= len(body):
            return self.reply(416, b"")
        self.reply(206, body[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(body)}"}, mood)

    def reply(self, status, body, headers={}, mood="ok"):
        length = len(body) + {"too long": 1000, "too short": -1000}.get(mood, 0)
        self.send_response(status)
        for key, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if mood in ("drop", "stall") else body)
        if mood == "stall":
            threading.Event().wait(1)               # longer than TIMEOUT in the test, and the other half never comes
        self.close_connection = True


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of one file, the only set there is; an empty cache; waits noted in server.waits, not slept."""
    server = Server({"/file.bin": BODY})
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    server.waits = []
    monkeypatch.setattr(datasets.time, "sleep", server.waits.append)
    one = {"file.bin": File(f"{server.url}/file.bin", len(BODY), SUM)}
    monkeypatch.setattr(datasets, "SETS", {"set": Set("a set", "1 MB", "MIT", one)})
    yield server
    server.shutdown()
    server.server_close()


def unchecked(server):
    """Take size and sum from the set: then only the server's word is there to go by."""
    datasets.SETS["set"].files["file.bin"] = File(f"{server.url}/file.bin")


def fetched():
    path, = datasets.fetch("set").values()
    assert path.read_bytes() == BODY
    assert not path.with_name(path.name + ".part").exists()
    return path


def refused(*words):
    """fetch must end in one line with these words, and leave no file of that name."""
    with pytest.raises(SystemExit) as e:
        datasets.fetch("set")
    message = str(e.value)
    assert "\n" not in message and "DATA_MIRROR" in message
    assert all(word in message for word in words), message
    assert not (Path(datasets.os.environ["DATA_DIR"]) / "set" / "file.bin").exists()


def test_downloads_once(server):
    assert fetched() == fetched()
    assert server.ranges == [None]


def test_goes_on_after_dropped_connections(server):
    server.moods = ["drop", "drop", "drop"]
    fetched()
    have = [int(asked[6:-1]) for asked in server.ranges[1:]]
    assert len(have) == 3 and 0 < have[0] < have[1] < have[2]  # each went on where the last stopped
    assert server.waits == [0.5, 0.5, 0.5]                     # each brought something: no growing wait


def test_goes_on_where_it_is_sent(server):
    """As Hugging Face does: the address only points to where the file is, for a resumed download too."""
    server.files["/elsewhere/file.bin"] = BODY
    there = (302, {"Location": f"{server.url}/elsewhere/file.bin"})
    server.moods = [there, "drop", there]
    fetched()
    assert server.ranges == [None, None, f"bytes={len(BODY) // 2}-", f"bytes={len(BODY) // 2}-"]


def test_goes_on_after_a_stall(server, monkeypatch):
    monkeypatch.setattr(datasets, "TIMEOUT", 0.2)
    server.moods = ["stall"]
    fetched()
    assert len(server.ranges) == 2


def test_shows_progress_with_rate(server, monkeypatch):
    """On a terminal; a log gets the plain lines alone."""
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    fetched()
    assert "file.bin" in screen.getvalue() and re.search(r"1\.00M/1\.00M .*B/s", screen.getvalue())
    (Path(datasets.os.environ["DATA_DIR"]) / "set" / "file.bin").unlink()
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    fetched()
    assert "B/s" not in log.getvalue() and "downloading from" in log.getvalue()


def test_goes_on_after_a_kill(server, tmp_path):
    part = tmp_path / "data" / "set" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY[:400_000])
    fetched()
    assert server.ranges == ["bytes=400000-"]


@pytest.mark.parametrize("left", [b"x" * 400_000, BODY + b"more", BODY], ids=["wrong", "longer", "whole"])
def test_a_useless_part_is_begun_again(server, tmp_path, left):
    """A .part of another file, or a longer one, must not end up inside the file."""
    part = tmp_path / "data" / "set" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    fetched()


def test_a_server_without_ranges_sends_all_again(server):
    server.moods = ["drop", "no range"]
    fetched()


@pytest.mark.parametrize("check", [True, False], ids=["sum known", "sum unknown"])
def test_a_length_that_is_too_long(server, check):
    if not check:
        unchecked(server)
    server.moods = ["too long", "no range"]
    fetched()
    datasets.os.remove(fetched())
    server.moods = ["too long"] + [(500, {})] * 9
    refused("500")


def test_a_length_that_is_too_short(server):
    server.moods = ["too short"]
    fetched()
    assert len(server.ranges) == 2


def test_garbage_is_asked_for_again_then_refused(server):
    server.moods = ["garbage"]
    fetched()
    datasets.os.remove(fetched())
    server.moods = ["garbage"] * 9
    refused("SHA-256", "tried 5 times")


def test_has_teeth(server):
    """Without the sum the same garbage gets through: it is the sum that convicts it."""
    unchecked(server)
    server.moods = ["garbage"]
    assert datasets.fetch("set")["file.bin"].read_bytes() == bytes(len(BODY))


def test_a_web_page_is_refused(server):
    unchecked(server)
    server.moods = ["html"]
    refused("web page")
    assert len(server.ranges) == 1


def test_missing_is_not_asked_for_again(server):
    server.files.clear()
    refused("404")
    assert len(server.ranges) == 1


def test_a_busy_server_is_given_its_time(server):
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=100), usegmt=True)
    server.moods = [(429, {"Retry-After": "7"}), (429, {"Retry-After": soon}), (503, {}), (500, {})]
    fetched()
    assert server.waits[0] == 7 and 95 < server.waits[1] <= 100 and server.waits[2:] == [4, 8]


def test_a_server_that_asks_too_much(server):
    server.moods = [(429, {"Retry-After": "86400"})]
    refused("429", "86400 s of patience")
    assert server.waits == []


def test_gives_up_on_a_broken_server(server):
    server.moods = [(500, {})] * 9
    refused("500", "tried 5 times")
    assert server.waits == [1, 2, 4, 8]


def test_no_network_and_no_mirror(server):
    datasets.SETS["set"].files["file.bin"] = File("http://127.0.0.1:9/file.bin")  # nothing listens there
    refused("refused")
    assert server.waits == []


def test_the_head_of_a_large_file(server):
    """Only the bytes asked for travel, and the file is cut after the last whole story."""
    stories = b"Once.\n<|endoftext|>\nTwice.\n<|endoftext|>\nThe third story goes on and on"
    server.files["/big.txt"] = stories + bytes(1_000_000)
    head = File(f"{server.url}/big.txt", head=60, take=sets.whole_stories)
    datasets.SETS["set"].files["file.bin"] = head
    want = b"Once.\n<|endoftext|>\nTwice.\n<|endoftext|>\n"
    for mood in ["ok", "no range"]:
        server.moods = [mood]
        path, = datasets.fetch("set").values()
        assert path.read_bytes() == want and server.ranges[-1] == "bytes=0-59"
        path.unlink()
        (path.parent / "downloads" / "big.txt").unlink()


def test_an_archive_is_downloaded_once(server):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in/a.txt", "first")
        archive.writestr("in/b.txt", "second")
    server.files["/both.zip"] = packed.getvalue()
    files = datasets.SETS["set"].files
    files.clear()
    files |= {f"{x}.txt": File(f"{server.url}/both.zip", take=sets.unzip(f"in/{x}.txt")) for x in "ab"}
    assert [path.read_text() for path in datasets.fetch("set").values()] == ["first", "second"]
    assert len(server.ranges) == 1


def test_an_archive_of_garbage_is_refused(server):
    datasets.SETS["set"].files["file.bin"] = File(f"{server.url}/file.bin", take=sets.unzip("in/a.txt"))
    refused("not what was expected")


def mirrored(folder, body):
    (folder / "set").mkdir(parents=True)
    (folder / "set" / "file.bin").write_bytes(body)
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(body).hexdigest()}  ./set/file.bin\n")


def test_a_mirror_folder_is_read_in_place(server, tmp_path, monkeypatch):
    """A mirror may hold an excerpt: it answers to its own sums, not to the public file's."""
    mirrored(tmp_path / "mirror", b"an excerpt")
    monkeypatch.setenv("DATA_MIRROR", str(tmp_path / "mirror"))
    assert datasets.fetch("set") == {"file.bin": tmp_path / "mirror" / "set" / "file.bin"}
    assert server.ranges == []


def test_a_damaged_mirror_is_passed_over(server, tmp_path, monkeypatch):
    mirrored(tmp_path / "mirror", b"an excerpt")
    (tmp_path / "mirror" / "set" / "file.bin").write_bytes(b"another")
    monkeypatch.setenv("DATA_MIRROR", str(tmp_path / "mirror"))
    fetched()
    datasets.os.remove(fetched())
    server.files.clear()
    refused("mirror", "SHA-256", "404")


def test_a_mirror_at_an_address(server, monkeypatch):
    excerpt = BODY[:500]
    server.files |= {"/m/set/file.bin": excerpt,
                     "/m/SHA256SUMS": f"{hashlib.sha256(excerpt).hexdigest()}  set/file.bin\n".encode()}
    monkeypatch.setenv("DATA_MIRROR", f"{server.url}/m/")
    path, = datasets.fetch("set").values()
    assert path.read_bytes() == excerpt
    path.unlink()
    server.files["/m/set/file.bin"] = b"not what SHA256SUMS says"
    fetched()                                       # from the public address


def test_unknown_set(server):
    with pytest.raises(SystemExit, match="no data set 'nmaes'; python bpe/datasets.py --list"):
        datasets.fetch("nmaes")


def test_list_and_code(capsys, monkeypatch):
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    datasets.main(["--list"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in datasets.SETS)
    assert datasets.fetch("code")["json/decoder.py"].read_text().startswith('"""')


def test_every_set_can_be_found():
    """A name of its own in the folder of its set, an address that is one, sums where sizes are."""
    for name, entry in sets.SETS.items():
        for file, it in entry.files.items():
            assert it.url.startswith("https://") and "/" not in file and (it.sha256 is None or len(it.sha256) == 64)
            assert (it.size is None) == (it.sha256 is None), f"{name}/{file}"
    promised = ["tinyshakespeare", "names", "tinystories", "openwebtext", "wikitext-2", "c4", "fineweb-edu", "arc",
                "gsm8k", "instruct", "fiction", "science", "code"]
    assert set(promised) <= set(sets.SETS)


def test_makers(tmp_path):
    """What is taken from Gutenberg, PubMedQA and MedQuAD, each on the smallest example of its form."""
    download = tmp_path / "download"
    download.write_bytes("\ufeffTitle\r\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\r\n\r\nIt\r\nwas.\r\n"
                         "*** END OF THE …".encode())
    assert sets.gutenberg(download) == b"It\nwas.\n"
    abstract = {"QUESTION": "Is it?", "CONTEXTS": ["a", "b"], "LONG_ANSWER": "It is.", "final_decision": "yes"}
    download.write_text(json.dumps({"7": abstract}))
    row, = sets.pubmedqa(download).splitlines()
    assert json.loads(row) == {"pmid": "7", "question": "Is it?", "abstract": "a b", "conclusion": "It is.",
                               "answer": "yes"}
    with zipfile.ZipFile(download, "w") as archive:
        archive.writestr("MedQuAD-master/9_CDC_QA/1.xml", """<Document url="u"><Focus>Flu</Focus><QAPairs><QAPair>
            <Question qtype="q">What  is it?</Question><Answer>A\n cold.</Answer></QAPair></QAPairs></Document>""")
        archive.writestr("MedQuAD-master/3_GHR_QA/1.xml", "<Document/>")  # its answers were withdrawn
    row, = sets.medquad(download).splitlines()
    assert json.loads(row) == {"source": "9_CDC_QA", "url": "u", "focus": "Flu", "qtype": "q",
                               "question": "What is it?", "answer": "A cold."}


@pytest.mark.data
@pytest.mark.parametrize("name", datasets.SETS)
def test_every_set_on_the_mirror(name):
    mirror = datasets.os.environ.get("DATA_MIRROR")
    if not mirror or (name != "code" and not (Path(mirror) / name).is_dir()):
        pytest.skip(f"no DATA_MIRROR that holds {name}")
    assert all(path.stat().st_size for path in datasets.fetch(name).values() if path.name != "__init__.py")
