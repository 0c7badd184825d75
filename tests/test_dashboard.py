"""The dashboard: what it reads of a run, what it sends while runs train, and that the page stands alone."""

import json
import re
import shutil
import subprocess
import threading
from http.server import ThreadingHTTPServer
from urllib.request import urlopen

import pytest

from bpe.record import write_metrics
from train import dashboard
from train.log import Log


def run(folder, steps, every=100, loss=lambda step: 5 / step):
    log = Log(folder, ("valid_loss_nats",))
    for step in range(1, steps + 1):
        more = {"valid_loss_nats": loss(step) + 0.1} if step % every == 0 else {}
        log.log(step, seconds=0.1 * step, tokens=100 * step, loss_nats=loss(step), tokens_per_second=1000.0, **more)


def test_curves(tmp_path):
    """What was logged comes back, blanks as null, a torn last line and what is not finite left out."""
    run(tmp_path / "a", 10, every=5)
    path = tmp_path / "a/log.csv"
    path.write_text(path.read_text() + "11,1.1,1100,nan,inf")
    found, = dashboard.runs([tmp_path])
    assert found["columns"]["loss_nats"] == pytest.approx([5 / n for n in range(1, 11)], rel=1e-5)
    assert found["columns"]["valid_loss_nats"][:5] == [None] * 4 + [pytest.approx(1.1)]


def test_long_runs_are_thinned(tmp_path):
    """A curve of 5,000 steps keeps its ends, every validation, and no more points than a screen has."""
    run(tmp_path / "a", 5000, every=333)
    columns = dashboard.runs([tmp_path])[0]["columns"]
    assert len(columns["step"]) <= dashboard.POINTS + 20
    assert columns["step"][0] == 1 and columns["step"][-1] == 5000
    assert sum(value is not None for value in columns["valid_loss_nats"]) == 15


def test_states(tmp_path, monkeypatch):
    for name in ("done", "live"):
        run(tmp_path / name, 3)
    write_metrics(tmp_path / "done", "train/train.py", ["--tokens", "1"], numbers={"valid_loss_nats": 1.5, "note": "x"},
                  scores={"arc": {"value": 0.4, "n": 9, "stderr": 0.1, "chance": 0.25}})
    states = {found["name"]: found for found in dashboard.runs([tmp_path])}
    assert states["done"]["state"] == "done" and states["live"]["state"] == "live"
    assert states["done"]["numbers"] == {"valid_loss_nats": 1.5, "arc": 0.4}
    monkeypatch.setattr(dashboard.time, "time", lambda: states["live"]["changed"] + 1000)
    assert {found["name"]: found["state"] for found in dashboard.runs([tmp_path])}["live"] == "stopped"


def test_page_stands_alone(tmp_path, capsys):
    """One file, nothing from elsewhere, and a run's name stays text whatever it is."""
    run(tmp_path / "<script>alert(1)<", 3)
    run(tmp_path / "b", 3)
    dashboard.main([str(tmp_path)])
    text = (tmp_path / "dashboard.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)|https?://|@import""", text)
    assert "<script>alert" not in text and "innerHTML" not in text
    data = json.loads(re.search(r"^const given = (.*)$", text, re.M)[1])
    assert sorted(data["names"]) == ["<script>alert(1)<", "b"]


def test_live(tmp_path):
    """Over http: all runs at first, then those that have grown, and another's disappearance."""
    run(tmp_path / "a", 3)
    run(tmp_path / "b", 3)
    write_metrics(tmp_path / "b", "s", [])
    dashboard.Handler.folders = [tmp_path]
    server = ThreadingHTTPServer(("127.0.0.1", 0), dashboard.Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        at = f"http://127.0.0.1:{server.server_port}/"
        assert b"const given = null" in urlopen(at, timeout=30).read()
        first = json.loads(urlopen(at + "runs?since=0", timeout=30).read())
        assert {found["name"] for found in first["runs"]} == {"a", "b"}
        run(tmp_path / "a", 4)
        shutil.rmtree(tmp_path / "b")
        second = json.loads(urlopen(f"{at}runs?since={first['now'] + 100}", timeout=30).read())
        assert [len(found["columns"]["step"]) for found in second["runs"]] == [4]
        assert second["names"] == ["a"]
    finally:
        server.shutdown()
        server.server_close()


def test_mistakes(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SystemExit, match="Train something first"):
            dashboard.main([str(folder)])


@pytest.mark.peer
def test_in_a_browser(tmp_path):
    """Chromium runs the page's script to its end: both runs are listed, and a chart stands for each quantity."""
    browser = shutil.which("chromium") or shutil.which("google-chrome") or pytest.skip("no Chromium")
    run(tmp_path / "a", 60)
    run(tmp_path / "b", 60)
    dashboard.main([str(tmp_path)])
    dom = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000",
                          "--dump-dom", str(tmp_path / "dashboard.html")], capture_output=True, text=True,
                         timeout=100).stdout
    assert "2 of 2 shown" in dom and dom.count("<figure") == 3 and "peak memory, GB</h2>" in dom
