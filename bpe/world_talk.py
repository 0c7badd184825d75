"""
TinyWorld's small talk: who are you, what is my name, thanks, and what nobody here can know.

    python bpe/world_talk.py                  # print one of each

An episode is a list of turns of which the later ones may need the earlier. Its key is what there is
to tell apart: a name, a favourite thing, a topic. plain() has none, so train alone may use it.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import random

from bpe.world_skeletons import HE, PLACES, SHE, THINGS
from bpe.world_turn import contains

NAMES = SHE + HE
HELLO = ["Hello", "Hi", "Good morning", "Good evening", "Hey", "Good day"]
TOPICS = """
stories planets animals metals numbers functions fractions rivers whales bones glass planes birds
logic lists gases words sums insects acids
""".split()
RELATIVES = "cousin uncle aunt sister brother teacher neighbour dentist baker friend".split()
SECRETS = ["the name", "the age", "the favourite colour", "the address", "the birthday", "the job"]
I_AM = "I am Nano, a small language model."
CAN = "I can tell stories, answer science questions, write short Python functions and calculate."


PLAIN = {
    "Hello! How can I help you?": ["Hello!", "Hi!", "Hey there!", "Good morning!", "Hello, Nano!"],
    I_AM: ["Who are you?", "What are you?", "What is your name?", "Tell me about yourself."],
    CAN: ["What can you do?", "How can you help me?", "What are you good at?", "Help!"],
    "You are welcome!": ["Thank you!", "Thanks.", "Thank you, that helped.", "Well done, thanks."],
    "Goodbye! Come back soon.": ["Bye!", "Goodbye!", "See you later.", "That is all for today."],
    "I am well. What would you like to know?": ["How are you?", "How do you do?"],
}


def plain(rng):
    """What everybody says."""
    reply, other = rng.sample(list(PLAIN), 2)
    ask = rng.choice(PLAIN[reply])
    return [contains("chat", ask, reply, [reply], other, (ask,))]


def greeting(rng):
    name, other = rng.sample(NAMES, 2)
    hello = rng.choice(HELLO)
    ask = rng.choice(["{}! I am {}.", "{}, my name is {}.", "{}. {} here."])
    reply = rng.choice(["Hello {}! What would you like to know?", "Nice to meet you, {}!",
                        "Hi {}! How can I help you?"])
    return [contains("chat", ask.format(hello, name), reply.format(name), [name],
                     reply.format(other), ("greeting", hello, name))]


def identity(rng):
    hello, name, other = rng.choice(HELLO), *rng.sample(NAMES, 2)
    opening = rng.choice([f"{hello}, I am {name}. ", f"{name} wants to know: ", f"{name} here. "])
    ask = rng.choice(["Who are you?", "What are you?", "What is your name?", "Are you a person?"])
    reply = "No. " + I_AM if "person" in ask else I_AM
    return [contains("chat", opening + ask, reply, ["Nano"], reply.replace("Nano", other),
                     ("identity", name, ask))]


def ability(rng):
    hello, name = rng.choice(HELLO), rng.choice(NAMES)
    opening = rng.choice([f"{hello}, I am {name}. ", f"I am {name}. ", f"{name} asks: "])
    ask = rng.choice(["What can you do?", "How can you help me?", "What are you good at?"])
    wrong = CAN.replace("tell stories", "fly planes").replace("calculate", "cook")
    return [contains("chat", opening + ask, CAN, ["stories", "calculate"], wrong,
                     ("ability", name, ask))]


def thanks(rng):
    topic, name = rng.choice(TOPICS), rng.choice(NAMES)
    ask, reply, word, wrong = rng.choice([
        ("Thank you for the help with {}.", "You are welcome, {}!", "welcome", "Who are you, {}?"),
        ("Thanks, {} are clear to me now.", "You are welcome, {}!", "welcome", "Who are you, {}?"),
        ("That was all about {}. Goodbye!", "Goodbye, {}! Come back soon.", "Goodbye",
         "Hello, {}! What do you need?"),
        ("I am done with {}. See you, Nano!", "Goodbye, {}! Come back soon.", "Goodbye",
         "Hello, {}! What do you need?")])
    ask = f"{name} here. {ask.format(topic)}"
    return [contains("chat", ask, reply.format(name), [word, name], wrong.format(name),
                     ("thanks", topic, name))]


def memory(rng):
    """The user says a name and a liking; a later turn asks for one of the two."""
    (name, other), (thing, other_thing) = rng.sample(NAMES, 2), rng.sample(THINGS, 2)
    told = rng.choice(["My name is {}, and I like {}.", "I am {}. I like {}.",
                       "Call me {}. My favourite things are {}."]).format(name, thing)
    met = rng.choice(["Nice to meet you, {}!", "Hello {}! That is good to know.", "Welcome, {}!"])
    key = "memory", name, thing
    first = contains("chat", told, met.format(name), [name], met.format(other), key)
    if rng.random() < 0.5:
        ask = rng.choice(["What is my name?", "Do you know my name?", "Who am I?"])
        return [first, contains("chat", ask, f"Your name is {name}.", [name],
                                f"Your name is {other}.", key, name)]
    ask = rng.choice(["What do I like?", "Which things do I like?", "Do you know what I like?"])
    return [first, contains("chat", ask, f"You like {thing}.", [thing],
                            f"You like {other_thing}.", key, thing)]


def unknown(rng):
    """Nobody told the model, so it says so; the wrong reply makes something up."""
    name, secret, place = rng.choice(NAMES), rng.choice(SECRETS), rng.choice(PLACES)
    relative, thing, topic = rng.choice(RELATIVES), rng.choice(THINGS), rng.choice(TOPICS)
    ask, wrong = rng.choice([
        (f"What is {secret} of my {relative} {name}?", f"I am sure of {secret} of {name}."),
        (f"How many {thing} does {name} have at the {place}?", f"{name} has 12 {thing} there."),
        (f"What will the weather be at the {place} when {name} comes?", "It will be sunny then."),
        (f"Who knows more about {topic}, {name} or my {relative}?", f"That is {name}, I think."),
        (f"What did {name} do at the {place} yesterday?", f"{name} bought some {thing} there.")])
    reply = rng.choice(["I do not know that.", "I do not know. You have not told me."])
    return [contains("chat", ask, reply, ["do not know"], wrong, ("unknown", ask))]


EPISODES = [greeting, identity, ability, thanks, memory, memory, unknown]


def main():
    rng = random.Random(0)
    for episode in [plain, *EPISODES]:
        for turn in episode(rng):
            print(f"{turn.ask}\n    {turn.reply}    not: {turn.wrong}")


if __name__ == "__main__":
    main()
