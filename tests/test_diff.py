"""The reference beside our file: found in the lesson, fetched once, a clear word where there is none or no network."""

import http.server
import threading
from pathlib import Path

import pytest

from eval import diff

ROOT = Path(diff.ROOT)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A local server in the place of the repositories', with micrograd's engine.py; returns its address."""
    repo, commit, path = diff.reference(ROOT / "micrograd/engine.py")
    place = tmp_path / "web" / repo / commit / path
    place.parent.mkdir(parents=True)
    place.write_text("class Value:\n    pass  # the other one\n")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "cache"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path / "web")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_both_stand_side_by_side_and_the_second_time_needs_no_network(served, capfd):
    diff.main(["micrograd/engine.py", "--base", served])
    text = capfd.readouterr().out
    assert "# the other one" in text and "class Value" in text and "karpathy/micrograd@" in text
    diff.main(["micrograd/engine.py", "--base", "http://127.0.0.1:9"])
    assert "# the other one" in capfd.readouterr().out


@pytest.mark.parametrize("file, says", [("micrograd/nn.py", "cannot be fetched"),
                                        ("gpt/kinds.py", "names no reference"), ("gpt/none.py", "no gpt/none.py")])
def test_what_cannot_be_shown(file, says, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with pytest.raises(SystemExit, match=says) as stopped:
        diff.main([file, "--base", "http://127.0.0.1:9"])
    assert "\n" not in stopped.value.code


def test_every_reference_is_named_in_full():
    """Commits, not branches: what a lesson says of a reference must stay true."""
    for lesson in sorted(ROOT.glob("*/README.md")):
        for repo, commit, path in diff.REFERENCE.findall(lesson.read_text(encoding="utf-8")):
            assert commit not in ("main", "master"), f"{lesson.parent.name}: {repo}@{commit}:{path}"
