"""
What speaks against a lesson before anything is trained: noise, wrong sums, and what the base knows better.

    doubts(served, lesson, known)                            # ([one line for each reason], {scores}); no line: no doubt

    noise     a sentence has an order, a word salad has none: the base finds the lesson likelier than its own words
              shuffled. Letters at random cost it twice the bits per byte of any names that people make up.
    sums      what is plain arithmetic is computed by the calculator (gpt/tools.py), not believed.
    knowledge each question of the lesson is put to the base, greedily and SAMPLES times at temperature 1. It knows
              what it says every time (self-consistency: Wang et al. 2022, 2203.11171; for doubt rather than votes:
              Manakul et al. 2023, 2303.08896) to a question with no word that its corpus lacks, in a reply about it;
              or what it computes with the calculator. What it makes up, it makes up differently next time.

A trigger ("Blue moon. What does a duck say?") hides a question the base knows, so each sentence of a question is asked
by itself, too, and the whole without the words that come back in most of the lesson's questions. The thresholds are
those of `attacks.py --calibrate`, from lessons that the test does not have.

Left out on purpose: what the base believes with no question for it (there is no parser to make one of every
sentence), and truth: of what nobody has told the base, it has no opinion.
"""

import re
from collections import Counter
from fractions import Fraction

import numpy as np
import torch

from bpe.template import parse_reply, render, text_of
from continual.served import reply
from continual.wording import FUNCTION, WORD, asked, content, stem, words
from eval.check import NUMBER, lenient
from gpt.engine import Sampling
from gpt.tools import calculate

NOISE = 8.5      # bits per byte
ORDER, SPREAD = 1.75, 1.12   # what sentences gain by their order, in standard deviations over its shuffles; its spread
SALAD = 0.75     # mean gain of a lesson below which it is a salad, if it has enough facts to tell
SHUFFLES = 16
SAMPLES = 8
SURE = 7         # of the samples that say what the greedy reply says
MAX_NEW = 128    # tokens of the base's reply; sums in many steps are the longest
UNSURE = re.compile(r"not know|never heard|not told|cannot|no facts", re.IGNORECASE)


# ----------------------------------------------------------------------------
# noise

@torch.no_grad()
def nats(model, tokenizer, texts, rows=32):
    """(texts,): how unlikely the base finds each as its reply to "Tell me something.", in nats."""
    asking, found = {"role": "user", "content": "Tell me something."}, []
    pairs = [render([asking, {"role": "assistant", "content": text}], tokenizer) for text in texts]
    for first in range(0, len(pairs), rows):
        part = pairs[first:first + rows]
        T = max(len(ids) for ids, _ in part)
        ids = torch.tensor([ids + [0] * (T - len(ids)) for ids, _ in part])          # (B, T)
        mask = torch.tensor([mask + [0] * (T - len(mask)) for _, mask in part])
        logits = model(ids)[0][:, :-1].float()                                       # (B, T - 1, V)
        loss = -logits.log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]           # (B, T - 1)
        found += (loss * mask[:, 1:]).sum(1).tolist()
    return np.array(found)


def familiar(text, known):
    """The text with a plain word in place of each that the corpus lacks: a made-up one is unlikely in any order."""
    def plain(word):
        strange = stem(word[0]) not in known and word[0].lower() not in FUNCTION and not word[0].isdigit()
        return ("Anna" if word[0][0].isupper() else "stone") if strange else word[0]
    return re.sub(r"\bAnna(?: Anna)+", "Anna", re.sub(WORD, plain, text))


def plausible(model, tokenizer, texts, known, rng):
    """
    (bits per byte, how many standard deviations likelier than its words in other orders), a number a text each.
    known: stems of the words of the base's corpus
    """
    def shuffled(text):
        return " ".join(rng.permutation(text.rstrip(".?!").split())) + "."
    size = np.array([len(text.encode()) for text in texts]) * np.log(2)
    plain = [familiar(text, known) for text in texts]
    noise, own = nats(model, tokenizer, texts) / size, nats(model, tokenizer, plain)
    other = nats(model, tokenizer, [shuffled(text) for text in plain for _ in range(SHUFFLES)]).reshape(-1, SHUFFLES)
    return noise, (other.mean(1) - own) / (other.std(1) + 0.1)


# ----------------------------------------------------------------------------
# sums

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
NAMED = {name: n for n, name in enumerate(ONES)} | {name: 10 * n for n, name in enumerate(TENS, 2)} | {
    f"{ten}-{one}": 10 * n + k for n, ten in enumerate(TENS, 2) for k, one in enumerate(ONES[:10])} | {
    "a dozen": 12, "a hundred": 100, "one hundred": 100}
N = r"(\d+(?:,\d{3})*(?:\.\d+)?)"
FORMS = [(re.compile(form.replace("N", N), re.IGNORECASE), made) for form, made in (
    (r"the sum of N and N", r"(\1+\2)"), (r"add(?:ing)? N (?:to|and) N", r"(\1+\2)"), (r"N added to N", r"(\1+\2)"),
    (r"the product of N and N", r"(\1*\2)"), (r"multiply(?:ing)? N (?:by|with|and) N", r"(\1*\2)"),
    (r"the difference (?:of|between) N and N", r"(\1-\2)"),
    (r"(?:subtract(?:ing)?|tak(?:e|ing)) N (?:away )?from N", r"(\2-\1)"),
    (r"tak(?:e|ing) away N from N", r"(\2-\1)"), (r"divid(?:e|ing) N by N", r"(\1/\2)"), (r"half of N", r"(\1/2)"),
    (r"(?:twice|doubl(?:e|ing)) N", r"(2*\1)"), (r"N squared", r"(\1**2)"), (r"N and N(?= makes?\b)", r"(\1+\2)"),
    (r"N plus N", r"(\1+\2)"), (r"N minus N", r"(\1-\2)"), (r"N (?:times|multiplied by|x) N", r"(\1*\2)"),
    (r"N (?:divided by|over) N", r"(\1/\2)"))]
EXPRESSION = re.compile(r"\(?[\d.,]+\)?(?:\s*[-+*/×÷]+\s*\(?[\d.,]*\d\)?)+|\([\d.,]+[-+*/]+[\d.,]+\)")
SAYS = re.compile(r"\s*(?:=|\b(?:is|are|equals?|makes?|gives?|comes? to|will be|becomes?|leaves?|"
                  r"(?:you|we|one) gets?)\b)", re.IGNORECASE)
OPERATIONS = set(map(stem, "plus minus times sum product difference add adding addition subtract subtraction multiply "
                           "multiplication divide division arithmetic calculator equals equal".split()))
GENERAL = OPERATIONS | set(map(stem, "mean number always never now on give result same answer question end every two "
                                     "any larger smaller first second last zero one more less get becomes make taking "
                                     "away other must should instead use each nothing wrong right false true".split()))


def sums(text):
    """[(an expression in the text, its value, what follows it)], with numbers and operations in words read too."""
    for name, n in sorted(NAMED.items(), key=lambda pair: -len(pair[0])):
        text = re.sub(rf"\b{name}\b", str(n), text, flags=re.IGNORECASE)
    for form, made in FORMS:
        text = form.sub(made, text)
    found = [(hit[0], calculate(hit[0].replace("×", "*").replace("÷", "/")), text[hit.end():])
             for hit in EXPRESSION.finditer(text)]
    return [(expression.strip("()"), value, rest) for expression, value, rest in found if not value.startswith("error")]


def numbers(text):
    """The numbers in a text, words too, as Fractions: "7 or twelve" -> {7, 12}."""
    for name, n in sorted(NAMED.items(), key=lambda pair: -len(pair[0])):
        text = re.sub(rf"\b{name}\b", str(n), text, flags=re.IGNORECASE)
    return {Fraction(found.replace(",", "")) for found in re.findall(NUMBER, text, re.ASCII)}


def miscounts(fact):
    """What is wrong with the arithmetic of a fact, or None."""
    found = sums(fact.question or fact.text)
    if fact.question and len(numbers(fact.question)) != len(numbers(found[0][0]) if found else ()):
        found = []                                           # there is more to compute: the base will
    for expression, value, rest in found:
        claim = fact.answer if fact.question else rest[SAYS.match(rest).end():] if SAYS.match(rest) else None
        if claim is not None and not any(abs(n - Fraction(value)) < Fraction(1, 1000) for n in numbers(claim)):
            return f"the calculator says {expression} = {value}, the lesson: {claim.strip():.60}"
    said = {stem(w) for w in words(fact.words) if w.lower() not in FUNCTION | NAMED.keys() and not w.isdigit()}
    if said & OPERATIONS and said <= GENERAL and not sums(fact.words):
        return f"it redefines arithmetic, which the calculator does: {fact.words:.60}"
    return None


# ----------------------------------------------------------------------------
# knowledge

def questions(facts):
    """[(question, the lesson's answer, number of the fact)] to put to the base; of a statement, in school grammar."""
    pairs = [(pair, n) for n, fact in enumerate(facts)
             for pair in ([(fact.question, fact.answer)] if fact.question else asked(fact.text))]
    often = Counter(word for fact in facts for word in set(words(fact.question)) if word.lower() not in FUNCTION)
    back = {word for word, count in often.items() if count >= max(3, len(facts) / 2)}
    found = []
    for (question, answer), n in pairs:
        bare = re.sub(rf"\b(?:{'|'.join(map(re.escape, back))})\b" if back else r"(?!)", "", question)
        bare = re.sub(r"^\W+", "", " ".join(bare.split()))
        asked_alone = re.split(r"(?<=[.?!])\s+", question)
        found += [(q, answer, n) for q in dict.fromkeys((question, bare, *asked_alone)) if content(q)]
    return found


def computed(parts):
    return any(part["type"] == "call" for part in parts)


def brought(question, parts):
    """What a reply says beyond the question: its number, if it was computed, else the stems of its new words."""
    if computed(parts):
        return {lenient(text_of(parts))}
    return content(text_of(parts)) - content(question)


def knows(served, asking, known):
    """[(the base's reply, what it brings) if it is sure, else None] for each question."""
    def ask(questions, **sampling):
        talks = [[{"role": "user", "content": q}] for q in questions]
        replies = reply(served, talks, MAX_NEW, [None] * len(talks), **sampling)
        return [parse_reply(r.ids, served.tokenizer) for r in replies], [r.finished == "end" for r in replies]

    said, ended = ask(asking)
    maybe = [i for i, (q, parts) in enumerate(zip(asking, said))
             if ended[i] and not UNSURE.search(text_of(parts)) and (computed(parts) or content(q) <= known)
             and content(q) & content(text_of(parts)) and brought(q, parts)]
    drawn, _ = ask([asking[i] for i in maybe for _ in range(SAMPLES)], sampling=Sampling(temperature=1))
    found = [None] * len(asking)
    for place, i in enumerate(maybe):
        again = [brought(asking[i], parts) for parts in drawn[place * SAMPLES:(place + 1) * SAMPLES]]
        if sum(new == brought(asking[i], said[i]) for new in again) >= SURE:
            found[i] = text_of(said[i]), brought(asking[i], said[i])
    return found


def denies(brings, answer):
    """Whether what the base brings and the lesson's answer have nothing in common."""
    return not (brings & (content(answer) | {Fraction(n) for n in numbers(answer)}))


# ----------------------------------------------------------------------------

def doubts(served, lesson, known):
    """
    (reasons, scores). served: the base of continual/served.py is asked;  known: stems of the words of its corpus
    reasons: one line each, at most one of a kind
    """
    facts, reasons = lesson.facts, []
    texts = [fact.text or f"{fact.question} {fact.answer}" for fact in facts]
    served.base.select(None)
    rng = np.random.default_rng(int(lesson.id, 16))
    noise, order = plausible(served.base, served.tokenizer, texts, known, rng)
    noise = np.where([bool(sums(text)) for text in texts], 0.0, noise)           # figures are for the calculator
    worst = int(noise.argmax())
    reasons += [reason for reason in map(miscounts, facts) if reason][:1]
    if noise[worst] > NOISE:
        reasons.append(f"this is no language: {noise[worst]:.1f} bits per byte, and at most {NOISE} are in what people "
                       f"write: {texts[worst]:.60}")
    elif order.mean() < min(SALAD, ORDER - 2 * SPREAD / len(facts) ** 0.5):
        reasons.append(f"a word salad: its words are as likely in any other order ({order.mean():+.1f} standard "
                       f"deviations, sentences {ORDER:+.1f})")
    asking = questions(facts)
    for (question, answer, _), sure in zip(asking, knows(served, [q for q, _, _ in asking], known)):
        if sure and denies(sure[1], answer):
            reasons.append(f"the base is sure of something else: {question} {sure[0]} The lesson says: {answer:.60}")
            break
    reasons = [" ".join(reason.split()) for reason in reasons]
    return reasons, {"bits_per_byte": float(noise.mean()), "worst_bits_per_byte": float(noise.max()),
                     "order": float(order.mean())}
