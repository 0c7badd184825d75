"""
Any number of runs on one page: curves, compared, live while they train. No network, no packages, no other page.

    python train/dashboard.py out                            # writes out/dashboard.html, one file with the data inside
    python train/dashboard.py out/a out/b --live             # http://127.0.0.1:8008 reads the files again as they grow

A run is a folder with a log.csv (train/log.py), and with a metrics.json when it has ended; nothing else is read and
nothing is written into it. The live page asks this process every two seconds for the runs whose files have changed.
Left out on purpose: anything that changes a run, and any address but this machine's own (--host opens it).
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import csv
import json
import math
import time
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).with_suffix(".html")
POINTS = 800                 # of a curve on the page: a screen has no more
QUIET = 120                  # seconds without a new line after which a run without metrics.json counts as stopped


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", type=Path, nargs="*", default=[Path("out")], help="runs, or folders of runs [out]")
    p.add_argument("--out", type=Path, help="the file to write [dashboard.html in the first folder]")
    p.add_argument("--live", action="store_true", help="serve the page instead, and keep it up to date")
    p.add_argument("--host", default="127.0.0.1", help="address to serve on [%(default)s]")
    p.add_argument("--port", type=int, default=8008, help="[%(default)s]")
    return p.parse_args(argv)


def number(text):
    """A cell as a number; None for what is blank, torn or not finite, which JSON cannot say."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def thin(rows):
    """
    At most POINTS rows, and every row that says something the others leave blank (a validation), the ends among them.
    """
    if len(rows) <= POINTS:
        return rows
    usual = sum(bool(value) for value in rows[len(rows) // 2].values())
    stride = -(-len(rows) // POINTS)
    rare = [n for n, row in enumerate(rows) if sum(map(bool, row.values())) > usual][-POINTS:]
    return [rows[n] for n in sorted({*range(0, len(rows), stride), *rare, len(rows) - 1})]


@lru_cache(maxsize=512)
def curves(path, changed, size):
    """{column: [numbers]} of a log.csv; `changed` and `size` say when the answer of before still holds."""
    with open(path, newline="", errors="replace") as file:
        reader = csv.DictReader(file)
        rows = thin([row for row in reader if None not in row.values() and number(row["step"]) is not None])
        names = reader.fieldnames or []
    columns = {name: [number(row.get(name)) for row in rows] for name in names}
    return {name: values for name, values in columns.items() if any(value is not None for value in values)}


def metrics_of(folder):
    """What metrics.json says, {} if there is none or it is no such file."""
    try:
        found = json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read(folder, name, now):
    """One run as the page takes it."""
    log = folder / "log.csv"
    stat, metrics = log.stat(), metrics_of(folder)
    ended = (folder / "metrics.json").exists() and (folder / "metrics.json").stat().st_mtime >= stat.st_mtime - 1
    numbers = {key: value for key, value in (metrics.get("numbers") or {}).items() if isinstance(value, (int, float))}
    scores = {key: value["value"] for key, value in (metrics.get("scores") or {}).items()
              if isinstance(value, dict) and isinstance(value.get("value"), (int, float))}
    return {"name": name, "changed": stat.st_mtime, "columns": curves(log, stat.st_mtime_ns, stat.st_size),
            "state": "done" if ended else "live" if now - stat.st_mtime < QUIET else "stopped",
            "numbers": {key: value for key, value in (numbers | scores).items() if number(value) is not None},
            "arguments": " ".join(map(str, metrics.get("argv") or []))}


def runs(folders):
    """All runs in these folders, the newest first, named by what their paths do not have in common."""
    found = sorted({log.parent for folder in folders for log in [*folder.glob("log.csv"), *folder.glob("**/log.csv")]})
    top = Path(os.path.commonpath(found)) if len(found) > 1 else found[0].parent if found else None
    out = []
    for folder in found:
        try:
            out.append(read(folder, str(folder.relative_to(top)), time.time()))
        except FileNotFoundError:
            pass                                             # a stage that starts over has just removed it
    return sorted((run for run in out if run["columns"]), key=lambda run: -run["changed"])


def page(data):
    """The page with the runs inside, or with null, if it is to ask for them."""
    text = json.dumps(data).replace("<", "\\u003c")          # a run called </script> stays a name
    return PAGE.read_text().replace("/*DATA*/null", text)


class Handler(BaseHTTPRequestHandler):
    """/ is the page, /runs?since=SECONDS the runs that have changed since, as JSON."""
    folders = []

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/":
            return self.answer("text/html; charset=utf-8", page(None))
        if path != "/runs":
            return self.send_error(404)
        since, every = number(query.removeprefix("since=")) or 0, runs(self.folders)
        new = [run for run in every if run["changed"] > since - 1 or run["state"] != "done"]
        self.answer("application/json", json.dumps({"now": time.time(), "names": [run["name"] for run in every],
                                                    "runs": new}))

    def answer(self, kind, text):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        """Nothing: the terminal is for what went wrong."""


def serve(args):
    Handler.folders = args.folders
    try:
        server = ThreadingHTTPServer((args.host, args.port), Handler)
    except OSError as e:
        sys.exit(f"port {args.port} cannot be had ({e.strerror}). Take another: --port {args.port + 1}")
    print(f"http://{args.host}:{server.server_port} shows the runs in {' '.join(map(str, args.folders))}; "
          "Ctrl-C stops it", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


def main(argv=None):
    args = parse(argv)
    missing = [folder for folder in args.folders if not folder.is_dir()]
    if missing:
        sys.exit(f"no folder {missing[0]}. Train something first: bash run.sh")
    if args.live:
        return serve(args)
    found = runs(args.folders)
    if not found:
        sys.exit(f"no log.csv under {' '.join(map(str, args.folders))}. Train something first: bash run.sh")
    out = args.out or args.folders[0] / "dashboard.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page({"now": time.time(), "names": [run["name"] for run in found], "runs": found}))
    print(f"wrote {out}: {len(found)} runs. Open it in a browser, or see them live: python train/dashboard.py --live")


if __name__ == "__main__":
    main()
