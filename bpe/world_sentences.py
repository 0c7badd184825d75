"""
The sentences of the fiction, by what they tell; world_fiction.py decides which come when.

Slots are explained in world_grammar.py: {x} says a fact, {+t} draws a new word of table t, {a x} puts a
or an before it. {he him his} are the hero, {she her} the friend, whichever sex they are; {Who who them}
are those who get past the trouble. Short sentences with many drawn words: a word that follows from
what was said before costs a reader nothing, and a corpus of such words teaches a model little.
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
    "{He} liked {+hobby}, {+hobby} and {+tasty} {+food}.",
    "{He} hated {+food}, {+food} and {+hobby}.",
    "{His} friends were {+name}, {+name} and {+name}.",
    "{He} lived between {a +still} {+spot} and {a +still} {+spot}.",
    "{He} owned {a +worn} {+thing} and {a +worn} {+thing}.",
    "{He} wore {a +color} {+garment} and {a +color} {+garment}.",
    "{He} ate {+food} and {+food} with {+name} and {+name}.",
]
WANT = [
    "{hero} wanted {a +fine} {+color=hue} {+want}.",
    "Most of all, {hero} wanted {a +fine} {+color=hue} {+want}.",
    "One {+day}, {hero} dreamed of {a +fine} {+color=hue} {+want}.",
    "{hero} had no {+want}, and wanted {a +fine} {+color=hue} one.",
    '"I need {a +fine} {+color=hue} {+want}," said {hero} {+adverb}.',
    '"I wish I had {a +fine} {+color=hue} {+want}," said {hero}.',
]
WHERE = [
    "{A +wild} {+animal} had seen one at the {+far} {+place}.",
    "{A +note} told of one at the {+far} {+place}, {+number} miles away.",
    "{+other} and {+other} had seen one at the {+far} {+place}.",
    "{+other} knew of one at the {+far} {+place}, by {a +still} {+spot}.",
    '"Ask at {+other=owner}\'s {+place}," said {a +wild} {+animal}.',
    "There was one at the {+far} {+place} of {+other} and {+other}.",
]
LEAVE = [
    "On {a +weather} {+day} {he} left with {+food} and {+food}.",
    "So {he} packed {+food}, {+food} and {a +worn} {+thing}.",
    "{He} put on {a +color} {+garment} and left on {a +weather} {+day}.",
    "{He} took {+tasty} {+food}, {a +worn} {+thing} and {a +worn} {+thing}.",
    "{He} left with {a +color} {+garment} and {+number} {+wild} {+animal}s.",
]
SIGHT = [
    "{He} passed {+number} {+wild} {+animal}s near {a +still} {+spot}.",
    "{He} waved to {a +wild} {+animal} and {a +wild} {+animal}.",
    "The road led past {a +still} {+spot} and {a +still} {+spot}.",
    "{A +wild} {+animal} followed {him} to {a +still} {+spot}.",
    "By {a +still} {+spot} {he} found {a +worn} {+thing}.",
    "{He} fed {+food} to {+number} {+wild} {+animal}s.",
    "{He} rested by {a +still} {+spot} and ate {+tasty} {+food}.",
]
MEET = [
    "Soon {he} met {+friend}, {a +trait} {+mate}.",
    "By {a +still} {+spot} {he} met {+friend}, {a +trait} {+mate}.",
    "Then {he} met {+friend}, {a +trait} {+mate} in {a +color} {+garment}.",
    "{A +trait} {+mate} named {+friend} sat by {a +still} {+spot}.",
]

# What the friend lacked: how the hero gave or refused it, and the thanks for it.
NEED = {
    "hungry": {
        "give": ["{She} was hungry, so {hero} gave {her} {+food}, {+food} and {+tasty} {+food=gift}.",
                 '"I am hungry," {she} said, so {hero} shared {+food} and {+tasty} {+food=gift}.'],
        "refuse": ["{She} was hungry, but {hero} kept all {his} {+food} and {+tasty} {+food=gift}.",
                   "{She} asked for {+food}, {+food} or {+food=gift}, but {hero} said no."],
        "thank": '"You gave me {gift}, so take my {+handy} {+tool}," said {friend}.'},
    "cold": {
        "give": ["{She} was cold, so {hero} gave {her} {a +color} {+garment} and {a +color} {+garment=gift}.",
                 '"I am cold," {she} said, so {hero} gave {her} {a +color} {+garment=gift}.'],
        "refuse": ["{She} was cold, but {hero} kept {his} {+color} {+garment} and {+color} {+garment=gift}.",
                   "{She} asked for {a +color} {+garment} or {+color} {+garment=gift}, but {hero} said no."],
        "thank": '"You gave me {a gift}, so take my {+handy} {+tool}," said {friend}.'},
    "lost": {
        "give": ["{She} had lost {a +worn} {+thing=gift}, and {hero} found it by {a +still} {+spot}."],
        "refuse": ["{She} had lost {a +worn} {+thing=gift} and {a +worn} {+thing}, but {hero} did not care."],
        "thank": '"You found my {gift}, so take my {+handy} {+tool}," said {friend}.'},
    "dropped": {
        "give": ["{She} dropped {a +worn} {+thing} and {a +worn} {+thing=gift}, and {hero} picked them up."],
        "refuse": ["{She} dropped {a +worn} {+thing} and {a +worn} {+thing=gift}, but {hero} did not help."],
        "thank": '"You picked up my {gift}, so take my {+handy} {+tool}," said {friend}.'},
}
RETURN = [
    "Then {friend} came back with {a +handy} {+tool} and {+tasty} {+food}.",
    "But {friend} brought {a +handy} {+tool} and {a +worn} {+thing} to help.",
    "{friend} ran back with {+other}, {+other} and {a +handy} {+tool}.",
]
OFFER = [
    "Then {+friend} came by, {a +trait} {+mate} with {a +handy} {+tool}.",
    "{A +trait} {+mate} named {+friend} had {a +handy} {+tool}.",
    "Luckily {+friend}, {a +trait} {+mate}, owned {a +handy} {+tool}.",
    "By {a +still} {+spot} sat {+friend}, {a +trait} {+mate} with {a +handy} {+tool}.",
]
SWAP = [
    "{hero} gave {her} {+food} and {+tasty} {+food} for it.",
    "{She} swapped it for {a +color} {+garment} and {a +worn} {+thing}.",
    "{She} wanted {+food}, {+food} and {a +worn} {+thing} for it.",
    "{She} lent it to {him} for {a +worn} {+thing} and {+tasty} {+food}.",
]
FIND = [
    "By {a +still} {+spot} {he} found {a +handy} {+tool}.",
    "{He} got {a +handy} {+tool} from {+other} and {+other}.",
    "{He} swapped {a +worn} {+thing} for {a +handy} {+tool}.",
    "{He} swapped {+tasty} {+food} for {a +handy} {+tool}.",
    "{A +wild} {+animal} lent {him} {a +handy} {+tool}.",
]
SORRY = [
    "{friend} had {a +handy} {+tool}, so {he} said sorry and gave {her} {+food} and {+food}.",
    "{He} ran back, said sorry and gave {friend} {+food} for {a +handy} {+tool}.",
    '"I am sorry," said {hero}, and gave {friend} {+food} for {a +handy} {+tool}.',
]
PASS = [
    "{friend} had {a +handy} {+tool} and {a +worn} {+thing}, but did not stop.",
    "{friend} came by with {+other} and {a +handy} {+tool} and did not stop.",
]
HOME = [
    "So {hero} went home {+sad} and {+sad} to {+tasty} {+food}.",
    "{hero} never got the {want}, only {a +worn} {+thing} and {+tasty} {+food}.",
]
LESSON = [
    "The next {+day} {he} brought {friend} {+food}, {+food} and {+food}.",
    "On {+day} {he} gave {friend} {a +color} {+garment} and {a +worn} {+thing}.",
    '"I will share my {+food} and {+food} from now on," said {hero}.',
]
END = [
    "That evening {+name}, {+name} and {+name} came to see the {want}.",
    "In {first} {second}, {his} {+kin} {+name} and {+name} cheered.",
    '"It is {+praise} and {+praise}," said {his} {+kin} {+name} and {+name}.',
]
END_ALONE = [
    "{He} {used} it by {a +still} {+spot} every {+day}.",
    "{He} {used} it until {+late}, {+glad} and {+glad}.",
    "{hero} went home {+glad} and ate {+tasty} {+food} with {+name}.",
    "That night {he} ate {+food}, {+food} and {+tasty} {+food}.",
]
END_TOGETHER = [
    "They {used} it by {a +still} {+spot} until {+late}.",
    "They went home {+glad} and {+glad} to {+tasty} {+food}.",
    "First {friend} {used} it by {a +still} {+spot}, then {hero}.",
    "That night they ate {+food}, {+food} and {+tasty} {+food}.",
]
END_WEATHER = [
    "When {who} came home to {+food} and {+food}, {after}.",
    "By {+late} {after}, and {+name} and {+name} came to see the {want}.",
]

FOUND = [  # the end of a sentence that got past a trouble on the road
    " and found the {want} between {a +still} {+spot} and {a +still} {+spot}.",
    " and got the {want} from {+number} {+wild} {+animal}s.",
    " and found the {want} by {a +worn} {+thing} and {a +worn} {+thing}.",
    ", passed {a +still} {+spot} and got the {want}.",
    " and found the {want} at the {place}, by {a +still} {+spot}.",
]
SAVED = [  # and of one that got past a trouble at the place itself
    ", and {a +wild} {+animal} and {a +wild} {+animal} clapped.",
    ", and {+number} {+wild} {+animal}s clapped.",
    " and showed it to {+other} and {+other}.",
]


def each(starts, ends):
    return [start + end for start in starts for end in ends]


ROAD = [
    "Farther on was {a +grim} {+barrier}.",
    "Past {a +still} {+spot} was {a +grim} {+barrier}.",
    "Past {a +still} {+spot} and {a +still} {+spot} was {a +grim} {+barrier}.",
    "Between {a +still} {+spot} and {a +still} {+spot} was {a +grim} {+barrier}.",
    "{He} passed {a +still} {+spot} and came to {a +grim} {+barrier}.",
]
FALL = [
    "{He} fell in and lost {a +worn} {+thing} and {a +worn} {+thing}.",
    "{He} fell in and hurt {his} {+body}, {+body} and {+body}.",
]
DAMAGED = [
    "{He} found it by {a +still} {+spot}, but it had {a +grim} {+barrier}.",
    "The {want} was at the {place}, by {a +worn} {+thing}, and had {a +grim} {+barrier}.",
]
MEND = [
    "{He} put {+goo} and {+goo} on it, but it got worse.",
    "{He} put {+goo} on it and was {+sad} and {+sad}.",
]
MENDED = each(["{Who} mended the {want} with the {tool}"], SAVED)

# What to tell of each trouble: how it came up, what failed, what helped.
PLOT = {
    "water": (ROAD, FALL, each(["{Who} crossed by {tool}"], FOUND)),
    "gap": (ROAD, FALL, each(["{Who} crossed on the {tool}"], FOUND)),
    "gate": (ROAD, [
        "{He} {+shove} and {+shove} and hurt {his} {+body}.",
        "{He} hit it with {a +worn} {+thing} and {a +worn} {+thing}."],
        each(["{Who} used the {tool}"], FOUND)),
    "dark": (ROAD, [
        "{He} tripped over {a +worn} {+thing} and {a +worn} {+thing}.",
        "{He} bumped {his} {+body} and {+body} on {a +worn} {+thing}."],
        each(["{Who} lit the {tool}"], FOUND)),
    "thorns": (ROAD, [
        "It hurt {his} {+body}, {+body} and {+body}.",
        "It tore {his} {+color} {+garment} and {+color} {+garment}."],
        each(["{Who} cut through with the {tool}"], FOUND)),
    "stone": (ROAD, [
        "{He} pushed until {his} {+body}, {+body} and {+body} hurt.",
        "{He} {+shove}, {+shove} and {+shove}, {+sad} and {+sad}."],
        each(["{Who} moved the {barrier} with the {tool}"], FOUND)),
    "guard": (ROAD, [
        "It chased {him} past {a +still} {+spot} and {a +still} {+spot}.",
        "{He} ran and lost {a +worn} {+thing} and {a +worn} {+thing}."],
        each(["{Who} fed the {barrier} the {tool}"], FOUND)),
    "sleeper": (ROAD, [
        "{He} {+noise}, {+noise} and {+noise}, but it slept on.",
        "{He} {+noise} and {+noise}, and woke {a +wild} {+animal}."],
        each(["{Who} woke the {barrier} with the {tool}"], FOUND)),
    "fork": ([
        "At {a +grim} {+barrier} the road split into {+number} paths.",
        "{He} came to {+number} paths and {a +grim} {+barrier}."], [
        "{He} took the wrong one and came to {a +still} {+spot}.",
        "{He} got lost, {+sad} and {+sad}, by {a +still} {+spot}."],
        each(["{Who} used the {tool}"], FOUND)),
    "toll": ([
        "{A +grim} {+barrier} wanted {+number} coins to let {him} pass.",
        '"Pay {+number} coins," said {a +grim} {+barrier}.'], [
        "{He} offered {+food} and {+food}, but the {barrier} refused.",
        "{He} offered {a +worn} {+thing} and {+tasty} {+food}, but the {barrier} laughed."],
        each(["{Who} paid from the {tool}"], FOUND)),
    "height": ([
        "At the {place} the {want} was on {a +grim} {+barrier} by {a +still} {+spot}.",
        "{He} saw it past {a +still} {+spot}, up on {a +grim} {+barrier}."], [
        "{He} jumped {+number} times and hurt {his} {+body} and {+body}.",
        "{He} threw {a +worn} {+thing} and {a +worn} {+thing} at it."],
        each(["{Who} got the {want} down with the {tool}"], SAVED)),
    "depth": ([
        "At the {place} the {want} was in {a +grim} {+barrier} by {a +still} {+spot}.",
        "{He} saw it past {a +still} {+spot}, down in {a +grim} {+barrier}."], [
        "{He} leaned in and lost {a +worn} {+thing} and {a +worn} {+thing}.",
        "{He} leaned in and hurt {his} {+body}, {+body} and {+body}."],
        each(["{Who} pulled the {want} up with the {tool}"], SAVED)),
    "torn": (DAMAGED, MEND, MENDED),
    "broken": (DAMAGED, MEND, MENDED),
}
