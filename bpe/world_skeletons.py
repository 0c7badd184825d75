"""
The tables behind TinyWorld's word problems: kinds of step, their wordings, and the skeletons, which
are the orders in which the kinds follow each other.

A kind takes a state (none, things, money, a cost, miles), makes its calls and leaves a state, or `end`,
which leaves a question that is already asked. A call is three characters, `v+a`: the value so far,
an operator, an operand. The letter says how the operand is drawn and where the wording shows it:
    n  a start amount        a  an addend        s  a subtrahend below v    d  a divisor of v
    k  a small count         m  a size or price  g  a goal or note above v  r  the call before
Wordings name {who} (then {he}, {him}, {his}), {other} and {third}, both of the other sex so that
pronouns resolve, and things by the names of the word lists below.
In an answer @ stands for the call and its result. Each sentence cues one operation, in order.
"""

from collections import namedtuple

Kind = namedtuple("Kind", "takes gives calls asks says")

KINDS = {
    # starts: a number of things
    "have": Kind("", "things", "", [
        "{who} has {n} {things}.", "{who} finds {n} {things}.", "{who} buys {n} {things}.",
        "There are {n} {things} at the {place}, and {who} takes them all.",
        "{who} collects {n} {things} at the {place}.", "{who} brings {n} {things} to the {place}."],
        []),
    "boxes": Kind("", "things", "k*m", [
        "{who} buys {k} {boxes} of {m} {things} each.",
        "{who} has {k} {boxes} with {m} {things} in each.",
        "{who} fills {k} {boxes} with {m} {things} each.",
        "There are {m} {things} in a {box}. {who} takes {k} {boxes}."],
        ["{He} has @ {things}."]),
    "daily": Kind("", "things", "k*m", [
        "{who} finds {m} {things} every day for {k} days.",
        "Each day {who} gets {m} {things}. {He} does so for {k} days.",
        "{who} collects {m} {things} a week for {k} weeks.",
        "Every hour {who} packs {m} {things}. {He} works for {k} hours."],
        ["{He} gets @ {things}."]),
    "more": Kind("", "things", "n+a", [
        "{other} has {n} {things}. {who} has {a} more {things} than {other}.",
        "{other} finds {n} {things}, and {who} finds {a} more than {other}."],
        ["{who} has @ {things}."]),
    "fewer": Kind("", "things", "n-s", [
        "{other} has {n} {things}. {who} has {s} fewer {things} than {other}.",
        "{other} finds {n} {things}, and {who} finds {s} fewer than {other}."],
        ["{who} has @ {things}."]),
    "times": Kind("", "things", "n*k", [
        "{other} has {n} {things}. {who} has {k} times as many {things} as {other}.",
        "{other} finds {n} {things}, and {who} finds {k} times as many as {other}."],
        ["{who} has @ {things}."]),
    "both": Kind("", "things", "n+a", [
        "{who} finds {n} {things} in the morning and {a} {things} in the afternoon.",
        "{who} has {n} big {things} and {a} small {things}.",
        "On Monday {who} buys {n} {things}, and on Tuesday {a} {things}."],
        ["In all {he} has @ {things}."]),
    # starts: money, a cost, a way
    "cash": Kind("", "money", "", [
        "{who} has ${n}.", "{who} has saved ${n}.", "For {his} birthday {who} gets ${n}.",
        "{who} starts with ${n}."], []),
    "wage": Kind("", "money", "k*m", [
        "{who} works {k} hours for ${m} an hour.",
        "{who} earns ${m} an hour and works for {k} hours.",
        "{who} saves ${m} a week for {k} weeks."],
        ["That makes $@."]),
    "buys": Kind("", "cost", "k*m", [
        "{who} buys {k} {things} for ${m} each.",
        "{who} buys {k} {things}. Each of them costs ${m}.",
        "One {thing} costs ${m}. {who} buys {k} {things}."],
        ["The {things} cost $@."]),
    "basket": Kind("", "cost", "n+a", [
        "{who} buys a {gift} for ${n} and a {toy} for ${a}.",
        "A {gift} costs ${n} and a {toy} costs ${a}. {who} buys both."],
        ["They cost $@."]),
    "ride": Kind("", "miles", "k*m", [
        "{who} rides {m} miles an hour for {k} hours.",
        "{who} travels for {k} hours at {m} miles an hour.",
        "The car of {who} goes {m} miles an hour and runs for {k} hours."],
        ["{He} goes @ miles."]),
    "walk": Kind("", "miles", "", [
        "{who} travels {n} miles to the {place}.", "{who} goes {n} miles by car.",
        "{who} rides {n} miles on the first day."], []),
    # things come and go
    "gain": Kind("things", "things", "v+a", [
        "Then {he} gets {a} more {things}.", "{other} gives {him} {a} more {things}.",
        "Later {he} finds {a} more {things}.", "{He} buys {a} more {things}.",
        "{other} brings {a} more {things}, which {who} keeps."],
        ["{He} has @ {things} now."]),
    "lose": Kind("things", "things", "v-s", [
        "Then {he} loses {s} {things}.", "{He} gives {s} {things} to {other}.",
        "{He} sells {s} of the {things}.", "{other} takes {s} of the {things} away.",
        "Then {s} of the {things} break, and {he} throws them away."],
        ["{He} has @ {things} left."]),
    "morebox": Kind("things", "things", "k*m v+r", [
        "Then {he} buys {k} more {boxes} of {m} {things} each.",
        "{other} brings {him} {k} more {boxes} with {m} {things} in each.",
        "Later {he} gets {k} more {boxes} of {m} {things}."],
        ["The {boxes} hold @ {things}.", "{He} has @ {things} now."]),
    "treat": Kind("things", "things", "k*m v-r", [
        "{He} gives {m} {things} to each of {k} {friends}.",
        "Then {k} {friends} take {m} {things} each.",
        "{He} sells {k} {boxes} of {m} {things} each."],
        ["That takes @ {things} away.", "{He} has @ {things} left."]),
    "double": Kind("things", "things", "v*2", [
        "Then the number of {things} doubles.",
        "Then {he} gets as many {things} again, which doubles the number.",
        "With help from {other} {he} doubles the number of {things}."],
        ["{He} has @ {things} now."]),
    "half": Kind("things", "things", "v/2", [
        "{He} gives half of the {things} to {other}.", "{He} sells half of the {things}.",
        "Then half of the {things} get lost.",
        "Half of the {things} break, and {he} keeps the rest."],
        ["{He} has @ {things} left."]),
    "third": Kind("things", "things", "v/3 v-r", [
        "{He} gives a third of the {things} to {other}.", "{He} sells a third of the {things}.",
        "Then a third of the {things} get lost."],
        ["A third is @ {things}.", "{He} has @ {things} left."]),
    "sell": Kind("things", "money", "v*m", [
        "{He} sells all of the {things} for ${m} each.",
        "{He} takes the {things} to the market and sells each for ${m}."],
        ["{He} earns $@."]),
    "share": Kind("things", "end", "v/d", [
        "{He} shares the {things} equally among {d} {friends}. How many {things} does each get?",
        "Then {d} {friends} share the {things} equally. How many {things} are there for each?"],
        ["Each gets @ {things}."]),
    "pack": Kind("things", "end", "v/d", [
        "{He} packs the {things} into {boxes} of {d}. How many {boxes} does {he} fill?",
        "{He} puts {d} {things} into each {box}. How many {boxes} does {he} need?"],
        ["{He} fills @ {boxes}."]),
    "versus": Kind("things", "end", "v-s", [
        "{third} has {s} {things}. How many more {things} than {third} does {who} have?",
        "{third} has only {s} {things}. How many fewer {things} than {who} does {third} have?"],
        ["The difference is @ {things}."]),
    "jointly": Kind("things", "end", "v+a", [
        "{third} has {a} {things}. How many {things} do they have together?",
        "{third} has {a} {things}. How many {things} do {who} and {third} have in all?"],
        ["Together they have @ {things}."]),
    "crowd": Kind("things", "end", "v*k v+r", [
        "{third} has {k} times as many {things}. How many {things} do they have together?",
        "{third} has {k} times as many {things} as {who}. How many {things} are there in all?"],
        ["{third} has @ {things}.", "Together they have @ {things}."]),
    "goal": Kind("things", "end", "g-v", [
        "{He} wants to have {g} {things}. How many more {things} does {he} need?",
        "{He} needs {g} {things} in all. How many {things} are missing?"],
        ["{He} needs @ more {things}."]),
    # money comes and goes
    "earn": Kind("money", "money", "v+a", [
        "Then {he} earns ${a} more.", "{other} gives {him} ${a} more.",
        "Later {he} gets ${a} more for {his} help."],
        ["{He} has $@ now."]),
    "spend": Kind("money", "money", "v-s", [
        "{He} spends ${s} on a {gift}.", "Then {he} loses ${s}.", "{He} gives ${s} to {other}.",
        "{He} pays ${s} for a {toy}."],
        ["{He} has $@ left."]),
    "shop": Kind("money", "money", "k*m v-r", [
        "{He} buys {k} {things} for ${m} each.",
        "Then {he} pays for {k} {things} that cost ${m} each."],
        ["The {things} cost $@.", "{He} has $@ left."]),
    "halve": Kind("money", "money", "v/2", [
        "{He} spends half of the money.", "{He} gives half of the money to {other}.",
        "Then {he} loses half of the money."],
        ["{He} has $@ left."]),
    "afford": Kind("money", "end", "v/d", [
        "One {thing} costs ${d}. How many {things} can {he} buy with all the money?",
        "{He} spends all the money on {things} for ${d} each. How many {things} does {he} get?"],
        ["{He} gets @ {things}."]),
    "divide": Kind("money", "end", "v/d", [
        "{He} shares the money equally among {d} {friends}. How much money does each of them get?",
        "Then {d} {friends} share the money equally. How much money is there for each?"],
        ["Each gets $@."]),
    "dream": Kind("money", "end", "g-v", [
        "{He} wants a {gift} that costs ${g}. How much more money does {he} need?",
        "A {gift} costs ${g}. How much money is missing?"],
        ["{He} needs $@ more."]),
    "purse": Kind("money", "end", "v+a", [
        "{third} has ${a}. How much money do they have together?",
        "{third} has ${a}. How much money do {who} and {third} have in all?"],
        ["Together they have $@."]),
    # a cost grows, shrinks and is paid
    "extra": Kind("cost", "cost", "v+a", [
        "{He} also buys a {extra} for ${a}.", "A {extra} for ${a} comes on top.",
        "{He} pays ${a} more for a {extra}."],
        ["That makes $@."]),
    "coupon": Kind("cost", "cost", "v-s", [
        "{He} has a coupon that takes ${s} off.", "The shop takes ${s} off the price."],
        ["The price is $@ now."]),
    "sale": Kind("cost", "cost", "v/2", [
        "Today {he} pays only half of the price.",
        "There is a sale, and the price is cut in half."],
        ["Half of that is $@."]),
    "change": Kind("cost", "end", "g-v", [
        "{He} pays with ${g}. How much change does {he} get?",
        "{He} gives the seller ${g}. How much money does {he} get back?"],
        ["{He} gets $@ back."]),
    "split": Kind("cost", "end", "v/d", [
        "{d} {friends} share the cost equally. How much does each of them pay?",
        "The cost is shared equally among {d} {friends}. How much is it for each?"],
        ["Each pays $@."]),
    # a way goes on
    "further": Kind("miles", "miles", "v+a", [
        "Then {he} goes {a} more miles.", "After a rest {he} goes another {a} miles."],
        ["That makes @ miles."]),
    "leg": Kind("miles", "miles", "k*m v+r", [
        "Then {he} rides {m} miles an hour for {k} more hours.",
        "After a rest {he} travels for {k} more hours at {m} miles an hour."],
        ["The second part is @ miles.", "That makes @ miles."]),
    "return": Kind("miles", "miles", "v*2", [
        "Then {he} goes all the way back, which doubles the way.",
        "{He} goes back the same way, which doubles the miles."],
        ["That makes @ miles."]),
    "remain": Kind("miles", "end", "g-v", [
        "The whole way is {g} miles. How many miles are left?",
        "{He} wants to go {g} miles in all. How many miles are missing?"],
        ["There are @ miles left."]),
    "fuel": Kind("miles", "end", "v/d", [
        "The car goes {d} miles on a litre of fuel. How many litres does {he} need?",
        "{He} needs a litre of fuel for every {d} miles. How many litres is that?"],
        ["{He} needs @ litres."]),
}

# what is asked where the last kind asked nothing
ASKS = {
    "things": ["How many {things} does {he} have now?",
               "How many {things} does {he} have in the end?"],
    "money": ["How much money does {he} have now?", "How much money does {he} have in the end?"],
    "cost": ["How much does {he} pay?", "How much does {he} pay in all?"],
    "miles": ["How many miles does {he} go in all?", "How many miles is that in all?"],
}

# The skeletons are named by their kinds: every order of two or three that fit together and make two
# to four calls, and these longer ones.
LONGER = """
have-gain-lose-double have-lose-half-gain have-gain-gain-pack have-lose-sell-dream have-sell-earn-divide
boxes-half-lose-pack daily-lose-half-share more-double-lose-share
fewer-gain-half-jointly cash-earn-shop-dream
cash-spend-earn-afford buys-extra-coupon-change basket-extra-sale-split
ride-further-return-fuel walk-leg-further-remain
""".split()

# These never occur in train: each a new order of kinds that all occur there in other company. They
# test whether a model composes, not whether it guesses a new word.
UNSEEN = """
have-half-lose-jointly boxes-treat-share daily-double-share more-half-gain times-lose-pack
both-gain-versus cash-earn-halve wage-spend-divide buys-coupon-change walk-further-return
""".split()


def compositions(names=(), state=""):
    """Every skeleton of at most three kinds that begins with `names` and has two to four calls."""
    calls = sum(len(KINDS[name].calls.split()) for name in names)
    if names and 2 <= calls <= 4:
        yield "-".join(names)
    if len(names) < 3:
        for name, kind in KINDS.items():
            if kind.takes == state and name not in names:
                yield from compositions((*names, name), kind.gives)


SEEN = [name for name in (*compositions(), *LONGER) if name not in UNSEEN]

SHE = """
Mia Anna Emma Lily Ruth Nora Zoe Ella Ivy Kate Lucy Rose Sara Tina Maya Alice Clara Ada Jane Molly
Hannah Julia Laura Nina Olga
""".split()

HE = """
Tom Ben Sam Max Leo Jack Paul Finn Noah Omar Peter Adam Carl David Eric Frank Hugo Ian Jonas Luke
Mark Oscar Ravi Theo Victor
""".split()

# plural, from which the singular loses its s
THINGS = """
apples pears plums oranges lemons figs nuts grapes melons onions carrots beans eggs cakes rolls
pencils pens books stamps cards coins marbles shells stones buttons beads ribbons stickers balloons
kites balls dolls robots puzzles bricks candles cups plates spoons bowls socks hats belts gloves
shirts roses tulips seeds petals feathers magnets wheels nails screws bolts maps posters tickets
toys badges tokens crystals
""".split()
BOXES = "bags jars baskets crates trays packs buckets cartons tins drawers sacks".split()
FRIENDS = "friends children neighbours guests students players cousins teams visitors".split()
PLACES = "market park school beach garden station farm library harbour fair".split()
GIFTS = """
bike guitar camera lamp tent clock jacket radio saddle telescope drum sled desk violin coat
""".split()
TOYS = "doll kite puzzle ball robot game whistle top scooter puppet".split()
EXTRAS = "bag box card ribbon map pen cake drink sticker ticket".split()
