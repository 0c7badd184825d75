"""
report.html: one page that stands alone, without scripts and without anything loaded from elsewhere.

Everything that comes from a file is escaped; a model's answer is shown, never interpreted.
"""

from html import escape

from eval import plots, tables

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --muted: #5f6b76; --line: #d9dee3; --paper: #ffffff; --panel: #f4f6f8;
  --good: #1a7f4b; --bad: #b3372b; --series0: #2563ab; --series1: #c2571a; --series2: #1a7f4b; --series3: #7a4fb0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --muted: #9aa6b2; --line: #343c45; --paper: #14171a;
  --panel: #1d2227; --good: #5cc78d; --bad: #f08a7c; --series0: #74b0f4; --series1: #f2a063; --series2: #5cc78d;
  --series3: #c09cf0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: clamp(1.4rem, 4vw, 2rem); line-height: 1.25; margin: 0 0 .6rem; text-wrap: balance; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
p { margin: .4rem 0; } .muted, figcaption, th { color: var(--muted); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.4rem; }
figure { margin: 0; min-width: 0; } figcaption { font-size: .95rem; margin-bottom: .3rem; }
svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; margin: .8rem 0 1.4rem; }
table { border-collapse: collapse; font-size: .95rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 8rem; } th { font-weight: 500; }
.beside th, .beside td { text-align: left; white-space: normal; vertical-align: top; }
tr.all td { font-weight: 600; border-bottom: 0; }
.good { color: var(--good); } .bad { color: var(--bad); }
details { margin: .5rem 0; } summary { cursor: pointer; font-weight: 500; }
.sample { background: var(--panel); border-radius: .5rem; padding: .7rem .9rem; margin: .6rem 0; }
.sample, li code { overflow-wrap: anywhere; }
.sample p { white-space: pre-wrap; } .sample .muted { font-size: .85rem; }
code { font: .88em ui-monospace, monospace; }
@media (max-width: 32rem) { table { font-size: .8rem; } th, td { padding-right: .5rem; }
  th:first-child, td:first-child { min-width: 7.5rem; } }
.call { background: var(--paper); border: 1px solid var(--line); border-radius: .3rem; padding: 0 .3rem; }
"""


def table(head, rows, mark=lambda row, i: ""):
    """An HTML table; `mark` gives the class of a cell."""
    body = "".join(f"<tr{' class=all' if row[0] == 'all' else ''}>" + "".join(
        f'<td class="{mark(row, i)}">{escape(cell)}</td>' for i, cell in enumerate(row)) + "</tr>" for row in rows)
    return (f'<div class="scroll"><table><thead><tr>{"".join(f"<th>{escape(h)}</th>" for h in head)}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


def content(parts):
    """A message's content with its calculator calls set apart: text, or a list of parts."""
    if isinstance(parts, str):
        return escape(parts)
    out = []
    for part in parts:
        text = escape(part["text"])
        if part["type"] == "text":
            out.append(text)
        elif part["type"] == "call":
            out.append(f'<code class="call">{escape(part.get("name", "calc"))} {text}</code>')
        else:
            out.append(f' <code class="call">{escape(part["type"])}: {text}</code> ')
    return "".join(out)


def sample(row):
    verdict = '<span class="good">right</span>' if row["passed"] else '<span class="bad">wrong</span>'
    wanted = f", wanted {escape(row['answer'])}" if not row["passed"] and row.get("answer") else ""
    ended = "" if row["ended"] else ", cut at the limit"
    return (f'<div class="sample"><p class="muted">{content(row["question"])}</p><p>{content(row["reply"])}</p>'
            f'<p class="muted">{verdict}{wanted}{ended}</p></div>')


def samples_section(tasks):
    blocks = [f"<details{' open' if i == 0 else ''}><summary>{escape(tables.label(task))}</summary>"
              f"{''.join(map(sample, rows))}</details>" for i, (task, rows) in enumerate(tasks.items())]
    return ("<h2>Answers, right and wrong</h2><p class=muted>Taken at even distances from the saved answers: two that "
            f"passed and two that did not, where there are.</p>{''.join(blocks)}")


def plots_section(report, logs):
    try:
        drawn = plots.draw(report, logs)
    except ImportError:
        return ("<p class=muted>The plots need matplotlib: pip install matplotlib, then make the report again. "
                "All numbers are here without it.</p>")
    figures = (f"<figure><figcaption>{escape(finding)}</figcaption>{svg}</figure>" for finding, svg in drawn)
    return f'<div class="plots">{"".join(figures)}</div>'


def ledger_section(report):
    def mark(row, i):
        """Green or red where a change is more than two standard errors."""
        change = i > 1 and report["ledger"][i - 2]["difference"][row[0]]
        if not change or abs(change["value"]) <= 2 * (change["stderr"] or 0):
            return ""
        return "good" if change["value"] > 0 else "bad"

    return ("<h2>What each stage gained and what it cost</h2><p class=muted>Share of canaries passed; in brackets the "
            "change in points with its paired standard error, coloured beyond two of them.</p>"
            + table(tables.ledger_head(report), tables.ledger_rows(report), mark))


def render(report, logs, answers):
    """The page. report: see report.gather();  logs: {stage: columns};  answers: {task: rows}"""
    title, fiction = escape(tables.title(report)), list(tables.fiction_rows(report))
    beside = list(tables.beside_rows(report))

    def reached(row, i):
        return {"reached": "good", "missed": "bad"}.get(row[i].split(" ")[-1], "")

    commands = "".join(f"<li>{escape(folder)}: <code>{escape(command)}</code></li>"
                       for folder, command in report["commands"].items())
    parts = [f"<h1>{title}</h1><p class=muted>Run {escape(report['run'])}: {escape(tables.machine(report))}</p>",
             plots_section(report, logs),
             "<h2>Scores</h2><p class=muted>The error is one standard error; chance is what guessing gets, majority "
             "what always giving the most frequent answer gets.</p>",
             table(tables.SCORE_HEAD, tables.score_rows(report), reached),
             table(tables.FICTION_HEAD, fiction) if fiction else "",
             f'<div class="beside">{table(tables.BESIDE_HEAD, beside)}</div>' if beside else "",
             ledger_section(report) if report["ledger"] else "",
             samples_section(answers) if answers else "",
             "<h2>Time and memory</h2>", table(("stage", "time", "peak memory"), tables.stage_rows(report)),
             "<h2>Every other number</h2><details><summary>By stage</summary>",
             table(("stage and number", "value"), tables.number_rows(report)), "</details>",
             f"<h2>The command of every number</h2><ul>{commands}</ul>"]
    return ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n")
