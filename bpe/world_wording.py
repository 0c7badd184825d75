"""
How the embedded corpus says what it knows: sentences for every column of world_tables.py.

A paragraph of WORDING begins with the name of its column; then each line is a statement or, with a
question mark, a question. The fields:

    {s} {S}      the subject, or "it" where the text has already named it ({S} begins a sentence)
    {its} {Its}  its possessive, "copper's" or "its"
    {x}          the subject by its name, always: this sentence cannot stand with a pronoun
    {v} {V} {is} the value, the value at the head of a sentence, the verb that agrees with it

Every column has statements that begin with the value too, so that facts are told both ways round.
The first statement of a column is the answer to its questions: where it can, it has their words in their
order and the subject as they have it, for what stands in the question need only be copied.
A column without questions is there to be told, not to be asked: it has too few different values.
"""

WORDING = """
symbol
The symbol of {x} is {v}.
{S} has the symbol {v}.
{Its} symbol is {v}.
{V} is the symbol of {x}.
{V} is {its} symbol.
Chemists write {v} for {s}.
What is the symbol of {x}?
What is {its} symbol?
Which symbol do chemists write for {s}?

number
The atomic number of {x} is {v}.
{S} has the atomic number {v}.
{Its} atomic number is {v}.
{V} is the atomic number of {x}.
{V} is {its} atomic number.
The number of protons in an atom of {x} is {v}.
What is the atomic number of {x}?
What is {its} atomic number?
How many protons are in an atom of {x}?

family
Chemists call {s} {v}.
{S} is {v}.
Among the elements {s} is {v}.
{V} is what chemists call {s}.
{V} is {its} kind of element.
In chemistry {s} is {v}.
What kind of element is {s}?
What sort of element is {s}?

row
In the periodic table {s} is in {v}.
{S} is in {v} of the periodic table.
{S} stands in {v} of the table of elements.
{Its} place in the periodic table is in {v}.
{V} of the periodic table is where {s} stands.
{V} holds {s} in the periodic table.
In which row of the periodic table is {s}?
Where in the periodic table does {s} stand?

state
{S} is {v} at room temperature.
At room temperature {s} is {v}.
In a warm room {s} is {v}.
Neither heated nor cooled, {s} is {v}.

order
Counting from the sun, {s} is {v} planet.
{S} is {v} planet from the sun.
In the order of the planets {s} is {v}.
{V} planet from the sun is {s}.
{V} place from the sun belongs to {s}.
Counting from the sun, which planet is {s}?
Which planet from the sun is {s}?

type
Astronomers call {s} {v}.
{S} is {v}.
{S} counts as {v}.
{V} is what astronomers call {s}.
{V} is {its} kind of planet.
What kind of planet is {s}?
What type of planet is {s}?

moons
Around {s} there {is} {v}.
{S} has {v}.
{S} travels with {v}.
A traveler would find {v} at {s}.
{V} {is} found around {x}.
{V} {is} in orbit around {s}.
How many moons does {s} have?
How many moons are in orbit around {s}?

year
A year on {s} lasts about {v}.
{Its} year lasts about {v}.
{S} goes around the sun in about {v}.
{S} needs about {v} to go around the sun.
{V} make a year on {x}.
{V} pass while {s} goes around the sun.
How long is a year on {s}?
How long does {s} need to go around the sun?

turn
One turn of {x} takes about {v}.
{S} turns around itself in about {v}.
{S} needs about {v} for one turn.
{V} pass while {s} turns around once.
{V} is about the time that {s} needs for one turn.
How long does {s} need to turn around once?
How long does one turn of {x} take?

namesake
People named {s} after {v}.
{S} is named after {v}.
{Its} name comes from {v}.
{V} gave {s} its name.
{V} is the one that {s} is named after.
Who gave {s} its name?
Who is {s} named after?

next
The next planet after {s} is {v}.
After {s} comes {v}.
Going away from the sun, {s} is followed by {v}.
{V} is the next planet after {s}.
{V} comes after {s} on the way out from the sun.
Which planet comes after {s}?
Which is the next planet after {s}?

class
{S} is {v}.
{S} counts as {v}.
Among the animals {s} is {v}.
Scientists call {s} {v}.
{V} is what scientists call {s}.
{V} is the kind of animal that {s} is.
What kind of animal is {s}?
What sort of animal is {s}?

covering
{S} is covered with {v}.
{Its} body is covered with {v}.
The body of {x} is covered with {v}.
{S} has {v} on its body.
{V} {is} what covers {s}.
{V} {is} the covering of {x}.
{V} {is} {its} covering.
What covers {s}?
What is {its} body covered with?

legs
{S} has {v}.
{Its} body has {v}.
The body of {x} has {v}.
On {its} body you can count {v}.
{V} {is} found on {its} body.
{V} can be counted on {s}.
How many legs does {s} have?
How many legs can you count on {s}?

food
{S} eats {v}.
{S} lives on {v}.
{S} feeds on {v}.
{Its} main food is {v}.
The main food of {x} is {v}.
{V} {is} what {s} eats.
{V} {is} the food of {x}.
{V} {is} {its} main food.
What does {s} eat?
What is the main food of {x}?
What is {its} main food?

home
{S} lives {v}.
{S} is at home {v}.
You can find {s} {v}.
{Its} home is {v}.
The home of {x} is {v}.
{V} you can find {s}.
{V} lives {x}.
Where does {s} live?
Where can you find {s}?

young
{Its} young is called {v}.
{S} starts its life as {v}.
The young of {x} is called {v}.
{V} is the young of {x}.
{V} is {its} young.
{V} grows up into {x}.
What is the young of {x} called?
What is {its} young called?

sound
{Its} sound is {v}.
The sound of {x} is {v}.
From {s} you hear {v}.
{S} makes a sound called {v}.
{V} is the sound of {x}.
{V} is what you hear from {s}.
What sound does {s} make?
What is the sound of {x}?
What is {its} sound?

continent
The continent of {x} is {v}.
{S} comes from {v}.
{Its} continent is {v}.
{S} is an animal of {v}.
{V} is the continent of {x}.
{V} is where {s} comes from.
Which continent does {s} come from?
What is the continent of {x}?

kind
Among the materials {s} is {v}.
{S} is {v}.
{S} counts as {v}.
People who work with {s} call it {v}.
{V} is the kind of material that {s} is.
{V} is what people call {s}.
What kind of material is {s}?
What sort of material is {s}?

source
The source of {x} is {v}.
{S} comes from {v}.
{S} is made from {v}.
{Its} source is {v}.
{V} {is} the source of {x}.
{V} {is} what {s} is made from.
{V} {is} what {s} comes from.
What is {s} made from?
What is the source of {x}?
What does {s} come from?

hardness
The hardness of {x} is {v}.
{S} has a hardness of {v}.
{Its} hardness is {v}.
On the Mohs scale {s} has {v}.
{V} is the hardness of {x}.
{V} is {its} hardness on the Mohs scale.
What is the hardness of {x} on the Mohs scale?
What is {its} hardness?

water
{S} {v} in water.
In water {s} {v}.
A piece of {x} {v} in a bucket of water.
Thrown into a pond, {s} {v}.

current
{S} {v} electricity.
As for electricity, {s} {v} it.
Between two wires {s} {v} the current.

system
{S} is part of {v}.
{S} belongs to {v}.
Doctors count {s} as part of {v}.
{Its} system is {v}.
{V} includes {s}.
{V} is the system of {x}.
{V} is {its} system.
Which system of the body does {s} belong to?
What is the system of {x}?
What is {its} system?

place
{S} is {v}.
{Its} place is {v}.
You find {s} {v}.
The place of {x} is {v}.
{V} you find {s}.
{V} lies {x}.
Where is {s}?
Where in the body do you find {s}?

job
The job of {x} is {v}.
{Its} job is {v}.
{S} has the job of {v}.
The body needs {s} for {v}.
{V} is the job of {x}.
{V} is {its} job.
What is the job of {x}?
What is {its} job?

part
The part of {x} that people use is {v}.
{Its} useful part is {v}.
Cooks use {v} of {x}.
{S} is grown for {v}.
In the kitchen {its} useful part is {v}.
{V} {is} the part of {x} that people use.
{V} {is} {its} useful part.
Which part of {x} do people use?
What is {its} useful part?

kin
The family of {x} is {v}.
{S} belongs to {v}.
{S} is a member of {v}.
{Its} family is {v}.
Gardeners count {s} in {v}.
{V} includes {s}.
{V} is the family of {x}.
Which plant family does {s} belong to?
What is the family of {x}?
What is {its} family?

origin
The first home of {x} was {v}.
{S} comes from {v}.
People first grew {s} in {v}.
{Its} first home was {v}.
{V} {is} where people first grew {s}.
{V} {is} the first home of {x}.
Where did people first grow {s}?
What was the first home of {x}?
"""
