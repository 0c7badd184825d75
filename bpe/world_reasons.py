"""
What follows from a fact, whatever its subject: column | value | consequence.

A consequence is the second half of a sentence whose first half states the fact ("A penguin is a
bird, so it lays eggs."), and it holds for every subject of world_tables.py that has the value.
"""

REASONS = """
family | an alkali metal | it reacts with water
family | an alkali metal | a knife can cut it
family | an alkaline earth metal | it gives away two electrons
family | a noble gas | it hardly reacts with anything
family | a halogen | it forms salts with metals
family | a transition metal | it conducts heat and electricity
family | a post-transition metal | it conducts electricity
family | an actinide | it is radioactive
state | a gas | it spreads out and fills any bottle
state | a solid | it keeps its shape
state | a liquid | it takes the shape of its bottle
type | a rocky planet | it has hard ground
type | a gas giant | it has no ground to stand on
type | an ice giant | it is very cold
type | a dwarf planet | it is smaller than our moon
moons | no moons | its nights have no moonlight
class | a mammal | it feeds its young with milk
class | a mammal | it breathes with lungs
class | a bird | it lays eggs
class | a bird | it has wings and a beak
class | a reptile | it warms itself in the sun
class | an amphibian | its eggs need water
class | a fish | it breathes with gills
class | an insect | its body has three parts
class | an arachnid | it has no wings
class | a crustacean | it has feelers on its head
class | a mollusk | its body has no bones
covering | fur | it stays warm in the cold
covering | feathers | it stays dry in the rain
covering | wool | people can make yarn from it
covering | spines | few hunters dare to bite it
covering | a shell | it is hard to bite
legs | no legs | it cannot walk
food | grass | it is a plant eater
food | leaves | it is a plant eater
food | bamboo | it is a plant eater
food | meat | it must catch its food
food | fish | it must catch its food
food | nectar | it visits flowers
home | in the ocean | it swims in salt water
home | in fresh water | it needs rivers, lakes or ponds
home | in the desert | it can live with little water
home | in the Arctic | it must bear ice and snow
home | in the mountains | it can live in thin air
home | on farms | people take care of it
kind | a wood | it can burn
kind | an alloy | it conducts heat and electricity
kind | a fabric | it can be cut and sewn
kind | a plastic | it does not rust
kind | a ceramic | it was baked in a hot oven
kind | an igneous rock | it was once hot and melted
kind | a sedimentary rock | it was laid down bit by bit
kind | a metamorphic rock | heat and pressure have changed it
kind | a mineral | it grows in crystals
hardness | 1 | a fingernail can scratch it
hardness | 2 | a fingernail can scratch it
hardness | 9 | it can scratch glass
hardness | 10 | it can scratch everything else
water | floats | we know that it is lighter than water
water | sinks | we know that it is heavier than water
current | carries | it can be made into wires
current | blocks | it can keep electricity away from us
system | the circulatory system | it helps to move blood
system | the respiratory system | it helps us to breathe
system | the nervous system | it works with signals
system | the digestive system | it helps us to use our food
system | the urinary system | it helps us to get rid of waste
system | the endocrine system | it makes hormones
system | the sensory system | it tells us about the world
system | the skeletal system | it is made of bone
system | the muscular system | it pulls when it works
part | the root | it is pulled out of the soil
part | the tuber | it is dug out of the soil
kin | the bean family | it grows in pods
kin | the grass family | it has long thin leaves
kin | the citrus family | it is rich in vitamin C
"""
