"""
Look at how a text is cut: every token in its own colour.

    python bpe/show.py "Tom has 12 + 30 = 42 apples."
    python bpe/show.py --tokenizer out/mine --ids < story.txt

A line break is shown as \\n, a byte that is no whole character as <E4>. Where the output is no terminal,
or with --plain, tokens stand in brackets.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
from pathlib import Path

from bpe.bpe import Tokenizer

COLOURS = [153, 223, 157, 218, 189, 229]  # pale backgrounds of the 256-colour terminal, dark text on them


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("text", nargs="?", help="the text [standard input]")
    p.add_argument("--tokenizer", type=Path, default=Path("out/tinyworld/tokenizer"), help="its folder [%(default)s]")
    p.add_argument("--specials", action="store_true", help="read <|user|> and the like as special tokens")
    p.add_argument("--ids", action="store_true", help="print the ids too")
    p.add_argument("--plain", action="store_true", help="brackets in place of colours")
    return p.parse_args(argv)


def visible(token):
    """bytes -> printable text of one line"""
    text = token.decode("utf-8", errors="surrogateescape")
    return "".join(f"<{ord(c) - 0xDC00:02X}>" if "\udc80" <= c <= "\udcff" else
                   c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def painted(tokens):
    """list of bytes -> one string, the colours taking turns"""
    return "".join(f"\033[48;5;{COLOURS[i % len(COLOURS)]};38;5;16m{visible(token)}\033[0m"
                   for i, token in enumerate(tokens))


def main(argv=None):
    args = parse(argv)
    try:
        tokenizer = Tokenizer.load(args.tokenizer)
        text = sys.stdin.read() if args.text is None else args.text
        ids = tokenizer.encode(text, specials=args.specials)
    except ValueError as e:
        sys.exit(str(e))
    tokens = [tokenizer.vocab[i] for i in ids]
    plain = args.plain or not sys.stdout.isatty()
    print("".join(f"[{visible(token)}]" for token in tokens) if plain else painted(tokens))
    if args.ids:
        print(*ids)
    size = len(text.encode())
    print(f"{len(ids):,} tokens, {size:,} bytes, {size / max(len(ids), 1):.2f} bytes per token")


if __name__ == "__main__":
    main()
