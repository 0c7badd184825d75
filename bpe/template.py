"""
The chat template: messages to token ids with a mask of what the assistant wrote, and back.

    <|bos|>[<|system|>…<|end|>](<|user|>…<|end|><|assistant|>…<|end|>)*

A message is {"role": "system" | "user" | "assistant", "content": …}. Content is a string, always plain
text, or a list of parts {"type": …, "text": …}:

    text                        plain text
    call     (assistant only)   <CALC>48/2</CALC>, or with "name": "search" <TOOL>search whales</TOOL>
    result   (assistant only)   <RESULT>24</RESULT>, written by the engine, never by the model
    context  (user only)        <|context|>a retrieved passage

Text is encoded without specials, so a user who types "<|end|>" has typed seven characters and ended
nothing. As in nanochat: https://github.com/karpathy/nanochat/blob/master/nanochat/tokenizer.py
"""

import re

SPECIALS = ("<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>",
            "<CALC>", "</CALC>", "<RESULT>", "</RESULT>", "<TOOL>", "</TOOL>",
            "<|context|>", "<|pad|>", *(f"<|reserved_{i}|>" for i in range(8)))

# The same in Hugging Face's template language, for export_hf. There a special is recognized wherever its
# name stands, so text that spells one is refused. {% generation %} marks what the assistant wrote.
JINJA = """\
{%- macro plain(text) -%}
{%- for name in NAMES if name in text -%}
{{- raise_exception("the text spells the special token " ~ name) -}}
{%- endfor -%}
{{- text -}}
{%- endmacro -%}
{%- macro part(p) -%}
{%- if p.type == "call" and p.name | default("calc") == "calc" -%}{{ "<CALC>" ~ plain(p.text) ~ "</CALC>" }}
{%- elif p.type == "call" -%}{{ "<TOOL>" ~ plain(p.name ~ " " ~ p.text) ~ "</TOOL>" }}
{%- elif p.type == "result" -%}{{ "<RESULT>" ~ plain(p.text) ~ "</RESULT>" }}
{%- else -%}{{ ("<|context|>" if p.type == "context" else "") ~ plain(p.text) }}
{%- endif -%}
{%- endmacro -%}
{{- "<|bos|>" -}}
{%- for m in messages -%}
{{- "<|" ~ m.role ~ "|>" -}}
{%- for p in ([{"type": "text", "text": m.content}] if m.content is string else m.content) -%}
{%- if m.role == "assistant" and p.type != "result" -%}{%- generation -%}{{ part(p) }}{%- endgeneration -%}
{%- else -%}{{ part(p) }}
{%- endif -%}
{%- endfor -%}
{%- if m.role == "assistant" -%}{%- generation -%}{{ "<|end|>" }}{%- endgeneration -%}
{%- else -%}{{ "<|end|>" }}
{%- endif -%}
{%- endfor -%}
{{- "<|assistant|>" if add_generation_prompt else "" -}}
""".replace("NAMES", str(list(SPECIALS)))

PARTS = {"system": ("text",), "user": ("text", "context"), "assistant": ("text", "call", "result")}


def parts_of(content):
    """Content as a list of parts: neighbouring texts joined, empty ones left out."""
    parts = []
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        if part["type"] == "text" and parts and parts[-1]["type"] == "text":
            parts[-1] = {"type": "text", "text": parts[-1]["text"] + part["text"]}
        elif part["type"] != "text" or part["text"]:
            parts.append(part)
    return parts


def text_of(content):
    """The plain text of a content; calls, results and contexts are left out."""
    return "".join(part["text"] for part in parts_of(content) if part["type"] == "text")


def wrap(part):
    """part -> (opening special or None, text between, closing special or None)"""
    kind, text = part["type"], part["text"]
    if kind == "call":
        name = part.get("name", "calc")
        return ("<CALC>", text, "</CALC>") if name == "calc" else ("<TOOL>", f"{name} {text}", "</TOOL>")
    if kind == "result":
        return "<RESULT>", text, "</RESULT>"
    return "<|context|>" if kind == "context" else None, text, None


def check(messages, for_reply):
    """ValueError, naming the message, unless messages follow the grammar at the top of this file."""
    if not isinstance(messages, (list, tuple)) or not messages:
        raise ValueError("a conversation is a list of at least one message")
    turn = 0                                                  # even: the user's, odd: the assistant's
    for i, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in tuple(PARTS) or "content" not in message:
            raise ValueError(f"message {i}: must be a dict with content and a role of {', '.join(PARTS)}")
        expected = ("user", "assistant")[turn % 2]
        if role != expected and not (i == 0 and role == "system"):
            raise ValueError(f"message {i}: is the {role}'s where the {expected}'s must stand")
        turn += role != "system"
        check_content(i, role, message["content"])
    if for_reply and role != "user":
        raise ValueError(f"message {i}: the last before a reply must be the user's, not the {role}'s")
    if not for_reply and role == "user":
        raise ValueError(f"message {i}: has no reply; render it with for_reply=True")


def check_content(i, role, content):
    """ValueError, naming message i, unless content is a string or a list of parts that role may use."""
    if isinstance(content, str):
        return
    if not isinstance(content, (list, tuple)):
        raise ValueError(f"message {i}: content must be a string or a list of parts")
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise ValueError(f"message {i}: a part must be a dict with type and text, not {part!r:.60}")
        if part.get("type") not in PARTS[role]:
            raise ValueError(f"message {i}: the {role} has no part of type {part.get('type')!r}")
        if not re.fullmatch(r"\S+", str(part.get("name", "calc"))):
            raise ValueError(f"message {i}: a tool's name is one word, not {part['name']!r}")


def render(messages, tokenizer, for_reply=False):
    """
    messages -> (ids, mask), two lists of the same length. mask is 1 on exactly what the assistant has to
    learn to write: its text, its calls with their brackets, its <|end|>. for_reply=True: the last message
    is the user's and the ids end in <|assistant|>, ready for the model to go on.
    ValueError, naming the message, for an unknown role, a wrong order or a part that is not allowed.
    """
    check(messages, for_reply)
    special = tokenizer.specials
    ids, mask = [special["<|bos|>"]], [0]

    def add(more, own):
        ids.extend(more)
        mask.extend([own] * len(more))

    for i, message in enumerate(messages):
        own = int(message["role"] == "assistant")
        add([special[f"<|{message['role']}|>"]], 0)
        for part in parts_of(message["content"]):
            first, text, last = wrap(part)
            try:
                inner = tokenizer.encode(text)
            except ValueError as e:
                raise ValueError(f"message {i}: {e}") from None
            add([special[s] for s in (first,) if s] + inner + [special[s] for s in (last,) if s],
                own and int(part["type"] != "result"))
        add([special["<|end|>"]], own)
    if for_reply:
        add([special["<|assistant|>"]], 0)
    return ids, mask


def parse_reply(ids, tokenizer):
    """
    What follows <|assistant|>, up to <|end|> if it is there -> list of parts; the inverse of render.
    Never raises on what a model wrote: a bracket that is not closed runs to the end, a stray one is dropped.
    """
    special = tokenizer.specials
    opens = {special["<CALC>"]: "call", special["<TOOL>"]: "tool", special["<RESULT>"]: "result"}
    names = set(special.values())
    kind, inner, parts = "text", [], []

    def close():
        text = tokenizer.decode(inner)
        if kind != "tool":
            parts.append({"type": kind, "text": text})
        elif named := re.fullmatch(r"(\S+) ?(.*)", text, re.DOTALL):
            parts.append({"type": "call", "name": named[1], "text": named[2]})

    for i in ids:
        if i == special["<|end|>"]:
            break
        if i in names:
            close()
            kind, inner = opens.get(i, "text"), []
        else:
            inner.append(i)
    close()
    return parts_of(parts)


def from_gsm8k(answer):
    """
    GSM8K's answer text -> parts: "2*3 = <<2*3=6>>6" is text, call "2*3", result "6", text "6".
    Cobbe et al. 2021, section 5.2: https://arxiv.org/abs/2110.14168
    """
    text, *marks = re.split(r"<<([^<>]*)=([^<>=]*)>>", answer)
    parts = [{"type": "text", "text": text}]
    for call, result, text in zip(marks[::3], marks[1::3], marks[2::3]):
        for kind, inner in [("call", call), ("result", result), ("text", text)]:
            parts.append({"type": kind, "text": inner})
    return parts_of(parts)


def to_gsm8k(parts):
    """The inverse of from_gsm8k."""
    form = {"text": "{}", "call": "<<{}=", "result": "{}>>"}
    return "".join(form[part["type"]].format(part["text"]) for part in parts_of(parts))
