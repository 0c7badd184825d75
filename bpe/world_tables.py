"""
What the embedded corpus knows: tables of true facts, schoolbook knowledge, one line per subject.

The first line of a table names its columns; "-" is an empty cell, left out on purpose wherever the
truth has two answers. Subjects and values carry their articles, as they stand inside a sentence.
OVERLAP lists values that could both be true of one subject: they never meet in one question.
"""

TABLES = {
    "elements": """
subject | symbol | number | family | row | state
hydrogen | H | 1 | a nonmetal | row 1 | a gas
helium | He | 2 | a noble gas | row 1 | a gas
lithium | Li | 3 | an alkali metal | row 2 | a solid
boron | B | 5 | a metalloid | row 2 | a solid
carbon | C | 6 | a nonmetal | row 2 | a solid
nitrogen | N | 7 | a nonmetal | row 2 | a gas
oxygen | O | 8 | a nonmetal | row 2 | a gas
fluorine | F | 9 | a halogen | row 2 | a gas
neon | Ne | 10 | a noble gas | row 2 | a gas
sodium | Na | 11 | an alkali metal | row 3 | a solid
magnesium | Mg | 12 | an alkaline earth metal | row 3 | a solid
aluminum | Al | 13 | a post-transition metal | row 3 | a solid
silicon | Si | 14 | a metalloid | row 3 | a solid
phosphorus | P | 15 | a nonmetal | row 3 | a solid
sulfur | S | 16 | a nonmetal | row 3 | a solid
chlorine | Cl | 17 | a halogen | row 3 | a gas
argon | Ar | 18 | a noble gas | row 3 | a gas
potassium | K | 19 | an alkali metal | row 4 | a solid
calcium | Ca | 20 | an alkaline earth metal | row 4 | a solid
titanium | Ti | 22 | a transition metal | row 4 | a solid
chromium | Cr | 24 | a transition metal | row 4 | a solid
manganese | Mn | 25 | a transition metal | row 4 | a solid
iron | Fe | 26 | a transition metal | row 4 | a solid
cobalt | Co | 27 | a transition metal | row 4 | a solid
nickel | Ni | 28 | a transition metal | row 4 | a solid
copper | Cu | 29 | a transition metal | row 4 | a solid
zinc | Zn | 30 | - | row 4 | a solid
germanium | Ge | 32 | a metalloid | row 4 | a solid
arsenic | As | 33 | a metalloid | row 4 | a solid
bromine | Br | 35 | a halogen | row 4 | a liquid
krypton | Kr | 36 | a noble gas | row 4 | a gas
silver | Ag | 47 | a transition metal | row 5 | a solid
tin | Sn | 50 | a post-transition metal | row 5 | a solid
iodine | I | 53 | a halogen | row 5 | a solid
xenon | Xe | 54 | a noble gas | row 5 | a gas
barium | Ba | 56 | an alkaline earth metal | row 6 | a solid
tungsten | W | 74 | a transition metal | row 6 | a solid
platinum | Pt | 78 | a transition metal | row 6 | a solid
gold | Au | 79 | a transition metal | row 6 | a solid
lead | Pb | 82 | a post-transition metal | row 6 | a solid
radon | Rn | 86 | a noble gas | row 6 | a gas
radium | Ra | 88 | an alkaline earth metal | row 7 | a solid
uranium | U | 92 | an actinide | row 7 | a solid
plutonium | Pu | 94 | an actinide | row 7 | a solid
""",
    "planets": """
subject | order | type | moons | year | turn | namesake | next
Mercury | the first | a rocky planet | no moons | 88 days | 59 days | the god of trade | Venus
Venus | the second | a rocky planet | no moons | 225 days | 243 days | the goddess of love | Earth
Earth | the third | a rocky planet | one moon | 365 days | 24 hours | - | Mars
Mars | the fourth | a rocky planet | two moons | 687 days | 25 hours | the god of war | Jupiter
Jupiter | the fifth | a gas giant | many moons | 12 years | 10 hours | the king of the gods | Saturn
Saturn | the sixth | a gas giant | many moons | 29 years | 11 hours | the god of farming | Uranus
Uranus | the seventh | an ice giant | many moons | 84 years | 17 hours | the god of the sky | Neptune
Neptune | the eighth | an ice giant | many moons | 165 years | 16 hours | the god of the sea | -
Pluto | - | a dwarf planet | five moons | 248 years | 6 days | the god of the underworld | -
Ceres | - | a dwarf planet | no moons | - | 9 hours | the goddess of grain | -
Eris | - | a dwarf planet | one moon | - | - | the goddess of quarrels | -
Haumea | - | a dwarf planet | two moons | - | 4 hours | the goddess of birth | -
Makemake | - | a dwarf planet | one moon | - | - | - | -
""",
    "animals": """
subject | class | covering | legs | food | home | young | sound | continent
a lion | a mammal | fur | four legs | meat | in grassland | a cub | a roar | -
a tiger | a mammal | fur | four legs | meat | in the forest | a cub | a roar | Asia
a wolf | a mammal | fur | four legs | meat | - | a pup | a howl | -
a fox | a mammal | fur | four legs | - | in the forest | a cub | a bark | -
a polar bear | a mammal | fur | four legs | meat | in the Arctic | a cub | - | -
a cat | a mammal | fur | four legs | meat | - | a kitten | a meow | -
a dog | a mammal | fur | four legs | - | - | a puppy | a bark | -
a cow | a mammal | hair | four legs | grass | on farms | a calf | a moo | -
a horse | a mammal | hair | four legs | grass | on farms | a foal | a neigh | -
a donkey | a mammal | hair | four legs | grass | on farms | a foal | a bray | -
a sheep | a mammal | wool | four legs | grass | on farms | a lamb | a bleat | -
a goat | a mammal | hair | four legs | - | on farms | a kid | a bleat | -
a pig | a mammal | - | four legs | - | on farms | a piglet | a grunt | -
a zebra | a mammal | hair | four legs | grass | in grassland | a foal | - | Africa
a giraffe | a mammal | hair | four legs | leaves | in grassland | a calf | - | Africa
an elephant | a mammal | thick skin | four legs | - | - | a calf | a trumpet call | -
a hippo | a mammal | thick skin | four legs | grass | in fresh water | a calf | a grunt | Africa
a camel | a mammal | hair | four legs | - | in the desert | a calf | - | -
a llama | a mammal | wool | four legs | grass | in the mountains | - | - | South America
a yak | a mammal | hair | four legs | grass | in the mountains | a calf | a grunt | Asia
a reindeer | a mammal | fur | four legs | - | in the Arctic | a calf | - | -
a deer | a mammal | fur | four legs | leaves | in the forest | a fawn | - | -
a squirrel | a mammal | fur | four legs | nuts | in the forest | - | - | -
a mouse | a mammal | fur | four legs | seeds | - | a pup | a squeak | -
an otter | a mammal | fur | four legs | fish | in fresh water | a pup | - | -
a hedgehog | a mammal | spines | four legs | insects | - | - | - | -
a kangaroo | a mammal | fur | - | grass | in grassland | a joey | - | Australia
a koala | a mammal | fur | four legs | leaves | in the forest | a joey | - | Australia
a panda | a mammal | fur | four legs | bamboo | in the forest | a cub | - | Asia
a gorilla | a mammal | hair | - | leaves | in the rainforest | - | - | Africa
an orangutan | a mammal | hair | - | fruit | in the rainforest | - | - | Asia
a sloth | a mammal | fur | four legs | leaves | in the rainforest | - | - | South America
a meerkat | a mammal | fur | four legs | insects | in the desert | a pup | - | Africa
a raccoon | a mammal | fur | four legs | - | in the forest | - | - | North America
a whale | a mammal | smooth skin | no legs | - | in the ocean | a calf | a song | -
a dolphin | a mammal | smooth skin | no legs | fish | in the ocean | a calf | a whistle | -
a seal | a mammal | fur | - | fish | in the ocean | a pup | a bark | -
a penguin | a bird | feathers | two legs | fish | - | a chick | - | -
an owl | a bird | feathers | two legs | meat | in the forest | an owlet | a hoot | -
a duck | a bird | feathers | two legs | - | in fresh water | a duckling | a quack | -
a goose | a bird | feathers | two legs | grass | - | a gosling | a honk | -
a chicken | a bird | feathers | two legs | seeds | on farms | a chick | a cluck | -
a sparrow | a bird | feathers | two legs | seeds | - | a chick | a chirp | -
a hummingbird | a bird | feathers | two legs | nectar | - | a chick | - | -
a pelican | a bird | feathers | two legs | fish | - | a chick | - | -
a crow | a bird | feathers | two legs | - | - | a chick | a caw | -
an ostrich | a bird | feathers | two legs | - | in grassland | a chick | - | Africa
a snake | a reptile | scales | no legs | meat | - | - | a hiss | -
a crocodile | a reptile | scales | four legs | meat | in fresh water | a hatchling | - | -
a chameleon | a reptile | scales | four legs | insects | - | a hatchling | - | -
an iguana | a reptile | scales | four legs | leaves | - | a hatchling | - | -
a tortoise | a reptile | a shell | four legs | leaves | - | a hatchling | - | -
a frog | an amphibian | moist skin | four legs | insects | in fresh water | a tadpole | a croak | -
a toad | an amphibian | - | four legs | insects | - | a tadpole | a croak | -
a newt | an amphibian | moist skin | four legs | - | in fresh water | - | - | -
a shark | a fish | - | no legs | - | in the ocean | a pup | - | -
a tuna | a fish | scales | no legs | fish | in the ocean | - | - | -
a trout | a fish | scales | no legs | insects | in fresh water | - | - | -
a goldfish | a fish | scales | no legs | - | in fresh water | - | - | -
a bee | an insect | - | six legs | nectar | - | a grub | a buzz | -
an ant | an insect | - | six legs | - | - | a grub | - | -
a beetle | an insect | a shell | six legs | - | - | a grub | - | -
a butterfly | an insect | - | six legs | nectar | - | a caterpillar | - | -
a dragonfly | an insect | - | six legs | insects | - | a nymph | - | -
a grasshopper | an insect | - | six legs | grass | in grassland | a nymph | a chirp | -
a cricket | an insect | - | six legs | - | - | a nymph | a chirp | -
a spider | an arachnid | - | eight legs | insects | - | a spiderling | - | -
a scorpion | an arachnid | - | eight legs | insects | in the desert | - | - | -
a crab | a crustacean | a shell | ten legs | - | in the ocean | - | - | -
a lobster | a crustacean | a shell | ten legs | - | in the ocean | - | - | -
a shrimp | a crustacean | a shell | ten legs | - | in the ocean | - | - | -
a clam | a mollusk | a shell | no legs | plankton | - | - | - | -
an oyster | a mollusk | a shell | no legs | plankton | in the ocean | - | - | -
a snail | a mollusk | - | no legs | leaves | - | - | - | -
""",
    "materials": """
subject | kind | source | hardness | water | current
oak | a wood | - | - | floats | blocks
pine | a wood | - | - | floats | blocks
balsa | a wood | - | - | floats | blocks
paper | - | trees | - | - | blocks
cork | - | trees | - | floats | blocks
rubber | - | trees | - | - | blocks
linen | a fabric | flax | - | - | -
denim | a fabric | cotton | - | - | -
silk | a fabric | silkworms | - | - | blocks
leather | - | animal skin | - | - | blocks
vinyl | a plastic | oil | - | sinks | blocks
nylon | a plastic | oil | - | sinks | blocks
polystyrene | a plastic | oil | - | - | blocks
polyester | - | oil | - | sinks | blocks
glass | - | sand | - | sinks | blocks
porcelain | a ceramic | clay | - | sinks | blocks
brick | a ceramic | clay | - | sinks | blocks
terracotta | a ceramic | clay | - | sinks | blocks
cement | - | limestone | - | sinks | -
steel | an alloy | iron | - | sinks | carries
brass | an alloy | copper | - | sinks | carries
bronze | an alloy | copper | - | sinks | carries
pewter | an alloy | tin | - | sinks | carries
granite | an igneous rock | magma | - | sinks | -
basalt | an igneous rock | lava | - | sinks | -
obsidian | an igneous rock | lava | - | sinks | -
pumice | an igneous rock | lava | - | floats | -
sandstone | a sedimentary rock | sand | - | sinks | -
limestone | a sedimentary rock | shells | - | sinks | -
chalk | a sedimentary rock | shells | - | sinks | -
coal | a sedimentary rock | dead plants | - | sinks | -
marble | a metamorphic rock | limestone | - | sinks | -
slate | a metamorphic rock | mud | - | sinks | -
gneiss | a metamorphic rock | - | - | sinks | -
quartzite | a metamorphic rock | sandstone | - | sinks | -
talc | a mineral | - | 1 | sinks | -
gypsum | a mineral | - | 2 | sinks | -
calcite | a mineral | - | 3 | sinks | -
fluorite | a mineral | - | 4 | sinks | -
apatite | a mineral | - | 5 | sinks | -
feldspar | a mineral | - | 6 | sinks | -
quartz | a mineral | - | 7 | sinks | blocks
topaz | a mineral | - | 8 | sinks | -
corundum | a mineral | - | 9 | sinks | -
diamond | a mineral | - | 10 | sinks | blocks
""",
    "organs": """
subject | system | place | job
the heart | the circulatory system | in the chest | pumping blood
the artery | the circulatory system | - | carrying blood away from the heart
the vein | the circulatory system | - | carrying blood back to the heart
the lung | the respiratory system | in the chest | taking oxygen from the air
the windpipe | the respiratory system | - | leading air to the lungs
the larynx | the respiratory system | in the neck | making the voice
the brain | the nervous system | in the head | thinking
the spinal cord | the nervous system | in the back | carrying messages to the brain
the stomach | the digestive system | in the belly | mixing food with acid
the liver | the digestive system | in the belly | making bile
the gallbladder | the digestive system | in the belly | storing bile
the small intestine | the digestive system | in the belly | taking nutrients from food
the large intestine | the digestive system | in the belly | taking water from food waste
the kidney | the urinary system | - | cleaning the blood
the bladder | the urinary system | in the belly | storing urine
the pituitary gland | the endocrine system | in the head | making growth hormone
the thyroid gland | the endocrine system | in the neck | making thyroid hormone
the adrenal gland | the endocrine system | - | making adrenaline
the eye | the sensory system | in the head | seeing
the ear | the sensory system | in the head | hearing
the tongue | - | in the head | tasting food
the skull | the skeletal system | in the head | protecting the brain
the jawbone | the skeletal system | in the head | holding the lower teeth
the rib | the skeletal system | in the chest | protecting the lungs
the breastbone | the skeletal system | in the chest | -
the spine | the skeletal system | in the back | holding the body upright
the humerus | the skeletal system | in the arm | -
the radius | the skeletal system | in the arm | -
the ulna | the skeletal system | in the arm | -
the femur | the skeletal system | in the leg | -
the tibia | the skeletal system | in the leg | -
the fibula | the skeletal system | in the leg | -
the kneecap | the skeletal system | in the leg | protecting the knee
the biceps | the muscular system | in the arm | bending the elbow
the triceps | the muscular system | in the arm | straightening the elbow
the quadriceps | the muscular system | in the leg | straightening the knee
the hamstring | the muscular system | in the leg | bending the knee
the calf muscle | the muscular system | in the leg | lifting the heel
""",
    "plants": """
subject | part | kin | origin
a carrot | the root | the carrot family | Asia
celery | the stalk | the carrot family | -
a radish | the root | the cabbage family | -
cabbage | the leaves | the cabbage family | Europe
kale | the leaves | the cabbage family | Europe
broccoli | the flower | the cabbage family | Europe
cauliflower | the flower | the cabbage family | -
a beet | the root | - | -
a sweet potato | the root | - | the Americas
a potato | the tuber | the nightshade family | the Americas
a tomato | the fruit | the nightshade family | the Americas
a pepper | the fruit | the nightshade family | the Americas
an eggplant | the fruit | the nightshade family | Asia
lettuce | the leaves | the daisy family | -
an artichoke | the flower | the daisy family | -
a sunflower | the seeds | the daisy family | the Americas
spinach | the leaves | - | Asia
tea | the leaves | - | Asia
basil | the leaves | the mint family | -
rhubarb | the stalk | - | Asia
sugar cane | the stalk | the grass family | -
wheat | the seeds | the grass family | Asia
rice | the seeds | the grass family | -
corn | the seeds | the grass family | the Americas
sorghum | the seeds | the grass family | Africa
an onion | the bulb | the onion family | Asia
garlic | the bulb | the onion family | Asia
a pea | the seeds | the bean family | -
a lentil | the seeds | the bean family | Asia
a soybean | the seeds | the bean family | Asia
a peanut | the seeds | the bean family | the Americas
coffee | the seeds | - | Africa
cocoa | the seeds | - | the Americas
an almond | the seeds | the rose family | Asia
an apple | the fruit | the rose family | Asia
a peach | the fruit | the rose family | Asia
a cherry | the fruit | the rose family | -
a strawberry | the fruit | the rose family | -
a pumpkin | the fruit | the gourd family | the Americas
a cucumber | the fruit | the gourd family | Asia
a watermelon | the fruit | the gourd family | Africa
a lemon | the fruit | the citrus family | Asia
an orange | the fruit | the citrus family | Asia
""",
}

OVERLAP = {
    "family": ["a nonmetal, a halogen", "a nonmetal, a noble gas", "a nonmetal, a metalloid"],
    "namesake": ["the god of farming, the goddess of grain"],
    "covering": ["fur, hair, wool, spines", "hair, thick skin, smooth skin, moist skin",
                 "scales, thick skin, smooth skin, a shell"],
    "food": ["grass, leaves, bamboo, fruit, nuts, seeds", "meat, fish, insects",
             "insects, nectar, leaves, fruit, nuts, seeds"],
    "home": ["in the forest, in the rainforest", "in the forest, in grassland",
             "in the forest, in the Arctic", "in the forest, in the mountains",
             "in grassland, in the mountains", "in grassland, in the desert",
             "in grassland, on farms", "in the mountains, on farms", "in the ocean, in the Arctic",
             "in the ocean, in fresh water"],
    "young": ["a cub, a pup, a puppy, a kitten", "a pup, a calf", "a calf, a fawn",
              "a chick, an owlet, a duckling, a gosling, a hatchling", "a grub, a caterpillar"],
    "sound": ["a roar, a howl, a bark, a grunt, a squeak, a hiss, a meow, a trumpet call",
              "a bray, a neigh, a grunt", "a honk, a hiss, a hoot", "a chirp, a croak, a buzz",
              "a song, a whistle, a chirp", "a bleat, a grunt", "a moo, a bray, a grunt"],
    "continent": ["North America, South America"],
    "kind": ["a fabric, a plastic", "a mineral, an igneous rock", "a mineral, a sedimentary rock",
             "a mineral, a metamorphic rock"],
    "source": ["clay, mud, sand, sandstone, limestone, shells", "lava, magma", "copper, tin, iron",
               "trees, oil", "trees, cotton, flax", "oil, cotton, silkworms"],
    "system": ["the nervous system, the sensory system, the endocrine system",
               "the digestive system, the endocrine system",
               "the skeletal system, the muscular system",
               "the urinary system, the circulatory system"],
    "place": ["in the back, in the neck", "in the back, in the chest", "in the back, in the belly",
              "in the head, in the neck"],
    "job": ["making bile, cleaning the blood", "thinking, making growth hormone",
            "seeing, hearing, thinking, carrying messages to the brain",
            "lifting the heel, bending the knee"],
    "part": ["the root, the tuber", "the root, the leaves", "the root, the stalk",
             "the stalk, the leaves, the flower, the bulb", "the fruit, the seeds"],
}
