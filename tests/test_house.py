"""
The rules of the house that a machine can check: sizes of files and functions, who may import whom,
the line with which a script finds its neighbours, and which packages the core path may use.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "micrograd": set(), "kernels": set(), "bpe": set(),
    "makemore": {"bpe.datasets"},
    "gpt": {"bpe"},
    "train": {"bpe", "gpt", "kernels"},
    "eval": {"bpe", "gpt", "train", "makemore.ngram"},
    "lora": {"bpe", "gpt", "train"},
    "align": {"bpe", "gpt", "train", "eval", "lora"},
    "continual": {"bpe", "gpt", "train", "eval", "lora"},
    "chat": {"bpe", "gpt", "train", "eval", "lora", "align", "continual", "makemore", "kernels", "micrograd"},
}
PATH_LINE = "if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))"
FILES = sorted(path for folder in MAY_IMPORT for path in (ROOT / folder).glob("*.py"))
ALL = FILES + sorted((ROOT / "tests").glob("*.py"))


def name(path):
    return path.relative_to(ROOT).as_posix()


def cap(node):
    """Lines a function may have: Triton kernels twice as many, since they cannot be cut."""
    decorators = " ".join(ast.unparse(d) for d in getattr(node, "decorator_list", []))
    return 120 if "triton.jit" in decorators else 60


def long_functions(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if node.end_lineno - node.lineno + 1 > cap(node):
                yield f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


def imports(tree):
    """Dotted names of what a file imports, `from a import b` as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def forbidden(folder, tree):
    """Imports of other folders that the order of the design does not allow."""
    allowed = MAY_IMPORT[folder] | {folder}
    for module in imports(tree):
        if module.split(".")[0] in MAY_IMPORT:
            if not any(module == a or module.startswith(a + ".") for a in allowed):
                yield module


@pytest.mark.parametrize("path", ALL, ids=name)
def test_sizes(path):
    """At most 400 lines a file, 60 a function, 120 characters a line."""
    lines = path.read_text().splitlines()
    assert len(lines) <= 400, f"{len(lines)} lines: two ideas in one file?"
    assert not list(long_functions(ast.parse(path.read_text())))
    assert not [n for n, line in enumerate(lines, 1) if len(line) > 120], "lines over 120 characters"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports(path):
    assert not list(forbidden(path.parent.name, ast.parse(path.read_text())))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_header_and_path_line(path):
    """Every file says what it is; what can be run finds its neighbours, and nothing else touches sys.path."""
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no header"
    runs = '__name__ == "__main__"' in text
    assert (PATH_LINE in text) == runs, "exactly the scripts carry the path line"
    assert text.count("sys.path") == int(runs), "nothing but the path line touches sys.path"
    if runs:
        run = rf"python (-m )?{path.parent.name}[/.]{path.stem}"
        assert re.search(run, text), "the header does not say how to run it"


def test_every_folder_is_whole():
    for folder in {path.parent for path in FILES}:
        assert (folder / "__init__.py").exists(), f"{folder.name} has no __init__.py"
        assert (folder / "README.md").exists(), f"{folder.name} has no lesson"


def test_the_checks_have_teeth():
    assert list(long_functions(ast.parse("def f():\n" + "    x = 1\n" * 61)))
    assert list(forbidden("gpt", ast.parse("from kernels import flash")))
    assert list(forbidden("makemore", ast.parse("from bpe.bpe import Tokenizer")))
    assert not list(forbidden("makemore", ast.parse("from bpe.datasets import fetch")))


def test_requirements():
    names = re.findall(r"^[a-z]+", (ROOT / "requirements.txt").read_text(), re.M)
    assert names == ["numpy", "torch", "triton", "pytest", "regex", "tqdm"]


def test_no_code_is_run_from_text():
    """No eval, exec or unpickling; exec only where the corpus runs the functions it has just written itself."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "eval", name(path)
                assert node.func.id != "exec" or path.name == "world_code.py", name(path)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), name(path)


@pytest.mark.parametrize("path", [p for p in FILES if '"__main__"' in p.read_text()], ids=name)
def test_help_from_anywhere(path, tmp_path):
    """Every script with arguments explains itself from any directory, without any slow work."""
    if "argparse" not in path.read_text():
        pytest.skip("takes no arguments")
    done = subprocess.run([sys.executable, path, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr
