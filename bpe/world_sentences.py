"""
The sentences of the fiction, by what they tell; world_fiction.py decides which come when.

Slots are explained in world_grammar.py: {x} says a fact, {+t} draws a new word of table t, {a x} puts a
or an before it. {he him his} are the hero, {she her} the friend, whichever sex they are; {Who who} are
those who get past the trouble. Short sentences with many drawn words: a word that follows from what
was said before costs a reader nothing, and a corpus of such words teaches a model little.
"""

INTRO = [
    "{+hero} was {a +trait} {+kind} from {+first} {+second}.",
    "{+hero} the {+trait} {+kind} lived in {+first} {+second}.",
    "In {+first} {+second} lived {a +trait} {+kind} named {+hero}.",
    "Once {a +trait} {+kind} named {+hero} lived in {+first} {+second}.",
    "{A +trait} {+kind} named {+hero} lived near {+first} {+second}.",
    "{+hero} of {+first} {+second} was {a +trait} {+kind}.",
    "{+hero}, {a +trait} {+kind}, had {+number} {+animal}s in {+first} {+second}.",
]
DETAIL = [
    "{He} loved {+food}, {+food} and {+hobby}.",
    "{He} hated {+food}, {+food} and {+hobby}.",
    "{He} kept {+number} {+look} {+animal}s and {a +look} {+animal}.",
    "{He} lived between {a +look} {+spot} and {a +look} {+spot}.",
    "{He} owned {a +look} {+thing} and {a +look} {+thing}.",
    "{He} wore {a +color} {+garment} and {a +color} {+garment}.",
]
WANT = [
    "{He} wanted {a +look} {+color=hue} {+want}.",
    "Most of all, {he} wanted {a +look} {+color=hue} {+want}.",
    "One {+day}, {he} dreamed of {a +look} {+color=hue} {+want}.",
    '"I need {a +look} {+color=hue} {+want}," said {hero}.',
    '"I wish I had {a +look} {+color=hue} {+want}," said {hero}.',
]
WHERE = [
    "{A +look} {+animal} had seen one at the {+look} {+place}.",
    "{A +look} {+animal} knew of one at the {+look} {+place}, {+number} miles away.",
    '"Ask at the {+look} {+place}," said {a +look} {+animal}.',
    "There was one at the {+look} {+place}, behind {a +look} {+spot}.",
]
LEAVE = [
    "On {a +weather} {+day} {he} left with {+food} and {+food}.",
    "So {he} packed {+food}, {+food} and {a +look} {+thing}.",
    "{He} put on {a +color} {+garment} and left on {a +weather} {+day}.",
    "{He} left with {a +color} {+garment} and {+number} {+look} {+animal}s.",
]
SIGHT = [
    "{He} passed {+number} {+look} {+animal}s near {a +look} {+spot}.",
    "{He} waved to {a +look} {+animal} and {a +look} {+animal}.",
    "The road led past {a +look} {+spot} and {a +look} {+spot}.",
    "By {a +look} {+spot} {he} found {a +look} {+thing}.",
    "{He} rested by {a +look} {+spot} and ate {+tasty} {+food}.",
]
MEET = [
    "Soon {he} met {+friend}, {a +trait} {+mate}.",
    "By {a +look} {+spot} {he} met {+friend}, {a +trait} {+mate}.",
    "Then {he} met {+friend}, {a +trait} {+mate} in {a +color} {+garment}.",
]

# What the friend lacked, and how the hero gave or refused it.
NEED = {
    "hungry": {
        "give": ["{She} was hungry, so {he} shared {+food}, {+food} and {+tasty} {+food}."],
        "refuse": ["{She} was hungry, but {he} kept {his} {+food}, {+food} and {+tasty} {+food}."]},
    "cold": {
        "give": ["{She} was cold, so {he} shared {a +color} {+garment} and {a +color} {+garment}."],
        "refuse": ["{She} was cold, but {he} kept {his} {+color} {+garment} and {+color} {+garment}."]},
    "lost": {
        "give": ["{She} had lost {a +look} {+thing}, and {he} found it by {a +look} {+spot}."],
        "refuse": ["{She} had lost {a +look} {+thing} and {a +look} {+thing}, but {he} did not care."]},
}
RETURN = [
    "Then {friend} came back with {a +look} {+tool} and {+tasty} {+food}.",
    "But {friend} brought {a +look} {+tool} and {a +look} {+thing} to help.",
    '"You helped me, so take my {+look} {+tool}," said {friend}.',
]
OFFER = [
    "Then {+friend} came by, {a +trait} {+mate} with {a +look} {+tool}.",
    "Luckily {+friend}, {a +trait} {+mate}, owned {a +look} {+tool}.",
    "By {a +look} {+spot} sat {+friend}, {a +trait} {+mate} with {a +look} {+tool}.",
]
SWAP = [
    "{He} gave {her} {+food} and {+tasty} {+food} for it.",
    "{She} swapped it for {a +color} {+garment} and {a +look} {+thing}.",
    "{She} wanted {+food}, {+food} and {a +look} {+thing} for it.",
]
FIND = [
    "By {a +look} {+spot} {he} found {a +look} {+tool}.",
    "{He} got {a +look} {+tool} from {+number} {+look} {+animal}s.",
    "{He} swapped {a +look} {+thing} for {a +look} {+tool}.",
    "{He} swapped {+tasty} {+food} for {a +look} {+tool}.",
]
SORRY = [
    "{He} ran back, said sorry and gave {friend} {+food} and {+food} for {a +look} {+tool}.",
    '"I am sorry," said {hero}, and gave {friend} {+food} for {a +look} {+tool}.',
]
PASS = ["{friend} had {a +look} {+tool} and {a +look} {+thing}, but did not stop."]
HOME = [
    "So {hero} went home {+sad} and {+sad} to {+tasty} {+food}.",
    "{hero} never got the {want}, only {a +look} {+thing} and {+tasty} {+food}.",
]
LESSON = [
    "The next {+day} {he} brought {friend} {+food}, {+food} and {+food}.",
    "On {+day} {he} gave {friend} {a +color} {+garment} and {a +look} {+thing}.",
]
END = [
    "That evening {+name}, {+name} and {+name} came to see it.",
    '"It is {+praise} and {+praise}," said {his} {+kin} {+name} and {+name}.',
]
END_ALONE = [
    "{He} {used} it by {a +look} {+spot} every {+day}.",
    "{He} {used} it until {+late}, {+glad} and {+glad}.",
    "{He} went home {+glad} and {+glad} to {+tasty} {+food}.",
]
END_TOGETHER = [
    "They {used} it by {a +look} {+spot} until {+late}.",
    "They went home {+glad} and {+glad} to {+tasty} {+food}.",
    "That night they ate {+food}, {+food} and {+tasty} {+food}.",
]
END_WEATHER = ["When {who} came home to {+food} and {+food}, {after}."]

ROAD = [
    "Farther on was {a +look} {+barrier}.",
    "Past {a +look} {+spot} was {a +look} {+barrier}.",
    "Between {a +look} {+spot} and {a +look} {+spot} was {a +look} {+barrier}.",
]
FAIL = [
    "{He} turned back and lost {a +look} {+thing} and {a +look} {+thing}.",
    "{He} tried {a +look} {+thing} and {a +look} {+thing}, but in vain.",
    "{He} ran, fell and hurt {his} {+body}, {+body} and {+body}.",
    "{He} waited {+number} hours by {a +look} {+spot}, {+sad} and {+sad}.",
]
FOUND = [  # the end of a sentence that got past a trouble
    " and got the {want} from {+number} {+look} {+animal}s.",
    ", passed {a +look} {+spot} and got the {want}.",
    " and found the {want} by {a +look} {+thing} and {a +look} {+thing}.",
]


def solved(start):
    return [start + end for end in FOUND]


# Of each trouble: how it came up, and what helped.
PLOT = {
    "water": (ROAD, solved("{Who} crossed in it")),
    "gap": (ROAD, solved("{Who} crossed on it")),
    "gate": (ROAD, solved("{Who} opened the {barrier} with it")),
    "dark": (ROAD, solved("{Who} lit it")),
    "thorns": (ROAD, solved("{Who} cut through with it")),
    "sleeper": (ROAD, solved("{Who} woke the {barrier} with it")),
    "toll": (['"Pay {+number} coins," said {a +look} {+barrier}.'], solved("{Who} paid from it")),
}
