"""
The fiction of the embedded corpus: a grammar that knows the probability of what it says.

Parsed back, each of 1,000 stories has exactly one derivation, with the bits that its sampler spent:
the same logarithms added in the same order, so 1e-9 leaves room for nothing but rounding. The prose is
checked by machine where a machine can: articles, capitals, sentence counts, pronouns with one referent.
"""

import random
import re
from collections import Counter

import pytest

from bpe import world_fiction, world_sentences, world_words
from bpe import world_grammar as grammar

STORIES = [world_fiction.story(random.Random(seed)) for seed in range(1000)]
HELD = [world_fiction.story(random.Random(seed), held=True) for seed in range(100)]
WORDS = {"name": {"Ada": {"he": "she"}, "Ben": {"he": "he"}}, "food": {"eggs": {}, "figs": {}, "jam": {}}}


def toy(t):
    """24 stories: two openings, two names and then one food in 1/2, two foods in 1/2."""
    t.tell(["{+name} had {+food}.", "Once {+name} had {+food}."])
    if t.choose(["alone", "more"]) == "more":
        t.tell(["Then {he} ate {+food}."])


def ambiguous(t):
    """Jam can come from either table."""
    t.tables = {**t.tables, "sweet": {"jam": {}, "fudge": {}}}
    t.tell(["{+food} it was.", "{+sweet} it was."])


def terminals(text):
    return re.findall(r"[.!?]", text)


def sentences(text):
    return re.split(r'(?<=[.!?])"? ', text)


def test_toy_grammar_sums_to_one():
    texts = {grammar.sample(toy, WORDS, random.Random(seed)).text for seed in range(2000)}
    bits = [grammar.derivations(toy, WORDS, text) for text in texts]
    assert len(texts) == 2 * 2 * 3 + 2 * 2 * 3 * 2 and all(len(found) == 1 for found in bits)
    assert sum(2 ** -found[0] for found in bits) == pytest.approx(1, abs=1e-12)


def test_an_ambiguous_grammar_is_caught():
    assert grammar.derivations(ambiguous, WORDS, "jam it was.") == pytest.approx([2.585, 2.0], abs=1e-3)
    assert len(grammar.derivations(ambiguous, WORDS, "figs it was.")) == 1


def test_stories_have_one_derivation():
    for story in STORIES + HELD:
        found = world_fiction.derivations(story.text)
        assert found == pytest.approx([story.bits], abs=1e-9), story.text


def test_corrupted_stories_have_none():
    for story in STORIES[:20]:
        other_thing = story.text.replace(f" {story.facts['want']}", " spoon")
        for wrong in (story.text[:-1], story.text + " The end.", story.text.replace(" a", " the"), other_thing):
            assert world_fiction.derivations(wrong) == [], wrong


def test_a_story_depends_on_its_seed_alone():
    assert world_fiction.story(random.Random(7)) == STORIES[7] != STORIES[8]


def test_reserved_pairs_are_held_out():
    pairs = [(story.facts["kind"], story.facts["want"]) for story in STORIES]
    assert not any(world_fiction.reserved(*pair) for pair in pairs)
    assert all(world_fiction.reserved(s.facts["kind"], s.facts["want"]) for s in HELD)
    share = len(world_fiction.RESERVED) / len(world_words.KIND) / len(world_words.WANT)
    assert 0.04 < share < 0.06


def test_forced_facts_are_kept():
    rng = random.Random(0)
    story = world_fiction.story(rng, hero="Tom", kind="fox", want="drum")
    assert "Tom" in story.text and " fox" in story.text and " drum" in story.text
    assert world_fiction.derivations(story.text) == pytest.approx([story.bits], abs=1e-9)
    for wrong in ({"hero": "Tom", "kind": "girl"}, {"want": "spaceship"}):
        with pytest.raises(ValueError, match="no story about"):
            world_fiction.story(rng, **wrong)
    with pytest.raises(ValueError, match="reserved"):
        kind, want = world_fiction.RESERVED[0]
        world_fiction.story(rng, kind=kind, want=want)


def test_combinations_are_fine():
    """Two stories rarely tell of the same people, thing, place and trouble."""
    assert len({world_fiction.combination(story.facts) for story in STORIES}) > 995


def test_five_to_twelve_sentences():
    """However a reader counts: terminals, or breaks between sentences."""
    for story in STORIES + HELD:
        assert 5 <= len(sentences(story.text)) <= len(terminals(story.text)) <= 12, story.text


def test_spelling():
    for story in STORIES:
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|\bA [aeiou]|  |\{|\}| [.,]", story.text), story.text
        assert all(s[0].isupper() or s[0] == '"' and s[1].isupper() for s in sentences(story.text))
        assert story.text.count('"') % 2 == 0
    troubles = [table for trouble in world_words.TROUBLE.values() for table in trouble.values()]
    for table in [*world_words.TABLES.values(), *troubles]:
        for word in table:  # sounds that a letter does not tell
            assert not re.match(r"(hour|hono|honest|heir|uni|use|eu|one)", word), word


def referents(story, names):
    """For each pronoun in the telling, not in quotes: the word and the last named person of its gender."""
    latest, found = {}, []
    for word in re.findall(r"[A-Za-z]+", re.sub(r'"[^"]*"', "", story.text)):
        if word in names:
            latest[names[word]] = word
        elif word.lower() in ("he", "him", "his", "she", "her"):
            gender = "he" if word.lower() in ("he", "him", "his") else "she"
            found.append((word, latest.get(gender)))
    return found


def test_pronouns_have_one_referent():
    names = dict.fromkeys(world_words.BOYS, "he") | dict.fromkeys(world_words.GIRLS, "she")
    wrong = 0
    for story in STORIES:
        people = (story.facts["hero"], story.facts["friend"])
        assert all(who in people for _, who in referents(story, names)), story.text
        flipped = story._replace(text=re.sub(r"\bHe\b", "She", story.text))
        wrong += any(who not in people for _, who in referents(flipped, names))
    assert wrong > 100  # the check has teeth


def test_floor():
    """-log2 p(text) per byte, the limit for any model of these stories."""
    floor = sum(s.bits for s in STORIES[:500]) / sum(len(s.text.encode()) for s in STORIES[:500])
    assert 0.35 < floor < 1.2


def test_every_sentence_is_told_often_enough():
    """A sentence that comes up too rarely cannot be learned, and one that never does is a mistake."""
    told = Counter()

    class Witness(grammar.Sampler):
        def choose(self, options, visible=None, name=None):
            choice = super().choose(options, visible, name)
            if visible == self.opening:
                told[choice] += 1
            return choice

    for seed in range(3000):
        world_fiction.tell(Witness(world_fiction.TABLES, random.Random(seed), {}))
    lists = [value for value in vars(world_sentences).values() if isinstance(value, list)]
    known = {line for lines in lists for line in lines}
    assert known - set(world_sentences.FOUND) <= set(told)
    assert 80 < len(told) < 300 and min(told.values()) > 15
    drawn = {word for story in STORIES for word in re.findall(r"[A-Za-z-]+", story.text)}
    assert len(drawn) > 1500
