"""
The words of the fiction: typed tables, so that whatever is drawn makes sense where it stands.

A table maps a word to the further facts that come with it (see world_grammar.py). Most adjectives
stand in one table, "look", of words that fit a creature, a thing and a spot beside the road. No word
is written where a or an would follow the sound and not the letter (hour, unicorn).
"""


def words(text):
    """A table of words without further facts; _ stands for a space inside a word."""
    return {word.replace("_", " "): {} for word in text.split()}


def rows(columns, text):
    """One row a line, cells separated by commas: the word, then the facts named by columns."""
    cells = [[cell.strip() for cell in line.split(",")] for line in text.strip().splitlines()]
    return {word: dict(zip(columns.split(), rest, strict=True)) for word, *rest in cells}


BOYS = words("""
Adam Albert Alfie Andy Anton Arlo Arthur Basil Ben Boris Bruno Caleb Carl Cedric Colin Cyril Daniel
David Dennis Duncan Edgar Edwin Emil Ernest Ethan Felix Finn Fred Gavin George Gilbert Gus Harold
Harry Hector Henry Hugo Ian Isaac Jack Jacob Jasper Joel Jonas Julian Kevin Lars Leo Liam Louis Luke
Magnus Martin Max Milo Morris Nathan Ned Nigel Noah Oliver Omar Oscar Otto Owen Patrick Paul Percy
Peter Ralph Rufus Sam Simon Theo Tim Toby Tom Victor Walter Wilbur""")
GIRLS = words("""
Abby Adele Agnes Alice Amelia Amy Anita Anna Audrey Bella Bertha Betty Bonnie Carla Carmen Celia Clara
Cora Daphne Diana Dora Doris Edith Elena Elise Ella Elsa Emily Emma Esther Eva Fiona Flora Freya Gemma
Gerda Greta Gwen Hannah Harriet Helen Ida Ingrid Irene Isabel Jane Jenny Joan Josie Julia Karen Kate
Laura Lena Lily Linda Lola Lucy Lydia Mabel Maria Martha Matilda Maya Mia Molly Nadia Nancy Nell Nina
Nora Olga Paula Petra Polly Rita Ruth Sally Tess Wanda Zoe""")

# Heroes walk: nobody here could fly over a gate, swim a river or climb to a shelf.
KIND = words("""
badger bear calf camel deer dog donkey dormouse fawn fox gerbil goat hamster hare hedgehog lamb llama
mouse pig piglet pony puppy rabbit sheep weasel wolf wombat zebra
baker barber butcher carpenter child clown cobbler cook dentist doctor dwarf elf farmer gardener gnome
hunter juggler knight miller miner nurse painter pirate potter sailor shepherd singer smith tailor
teacher weaver writer""") | {
    "boy": {"sex": "male"}, "king": {"sex": "male"}, "prince": {"sex": "male"},
    "girl": {"sex": "female"}, "queen": {"sex": "female"}, "princess": {"sex": "female"}}
TRAIT = words("""
bashful blunt bold brainy brisk busy calm careful chatty cheerful clever clumsy crafty curious
dainty daring dreamy eager earnest fearless forgetful frank funny fussy gloomy graceful hasty
hopeful humble jolly keen lazy lively lonely loud loyal merry messy moody nervous nimble
noisy nosy plain playful plucky plump polite proud quick quiet rough scruffy serious
sharp shy silent silly skinny sleepy slim slow sly small smart solemn stern strict stubborn sturdy
tidy timid tiny tough vain weary witty young""")

# Where one lives: two words, such as Maple Hollow.
FIRST = words("""
Acorn Amber Apple Ash Barley Birch Bramble Cedar Cherry Clover Copper Coral Crystal Daisy Dragon
Eagle Elm Fern Ginger Hazel Heron Holly Honey Iron Ivory Lantern Lemon Lilac Linden Maple Marble
Mint Moon Nettle Oak Onyx Otter Pearl Pebble Pepper Pine Plum Poppy Raven Rowan Ruby Silver Star
Sugar Thistle Tulip Velvet Violet Walnut Willow Winter""")
SECOND = words("""
Bank Bay Bridge Cliff Corner Creek Cross Dale Falls Field Ford Garden Glen Green Grove Harbor
Heath Hill Hollow Lane Marsh Meadow Mill Moor Park Peak Point Ridge Rock Shore Valley Wood""")
DAY = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
NUMBER = words("three four five six seven eight nine ten eleven twelve")
WEATHER = rows("after", """
    rainy, the rain had stopped
    windy, the wind had dropped
    foggy, the fog had lifted
    misty, the mist was gone
    stormy, the storm had passed
    cloudy, the clouds were gone
    snowy, the snow had melted
    frosty, the frost had melted
    icy, the ice had melted
    sunny, the sun was setting
    bright, the moon was bright
    hot, the air was cool
    mild, the air was still mild
    gray, the sky was blue""")
LATE = words("dusk dark midnight bedtime sunset nightfall supper dawn")

COLOR = words("""
red blue green yellow white black brown gray pink purple orange golden silver crimson violet
scarlet tan cream ruby teal""")
GARMENT = words("""
apron beret blouse bonnet cap cape coat collar dress gown helmet hood jacket jumper kilt kimono
raincoat robe sash scarf shawl shirt skirt suit sweater tie top_hat tunic turban veil vest""")
FOOD = words("""
apples apricots barley beans beets berries biscuits bread broth buns butter cabbage cake candy
carrots celery cereal cheese cherries chips cookies corn cream curry custard dates dumplings eggs
figs fudge grapes gravy honey jam jelly kale leeks lemons lentils lettuce limes mangoes melons
mints muffins mustard noodles nuts oats olives onions oranges pancakes pasta peaches peanuts pears
peas peppers pickles pies pizza plums popcorn porridge potatoes prunes pudding radishes raisins
rhubarb rice rolls salad sauce sorbet soup spinach stew sugar syrup tarts toast toffee tofu
tomatoes turnips waffles walnuts yams yogurt""")
TASTY = words("""
cheap cold delicious excellent fancy fine foreign fresh good great homemade leftover local plain
salty simple sour spicy sweet tasty warm yummy""")
HOBBY = words("""
acting archery art baking ballet boxing camping cards carving chess cooking cycling dancing darts
digging drawing fencing fishing golf hiking hockey juggling judo jumping karate knitting marching
music opera painting poetry pottery puzzles racing reading riddles rowing rugby running sailing
sewing singing skating skiing soccer swimming tennis theater walking weaving whittling writing
yoga""")
GLAD = words("""
amazed amused cheerful content delighted excited glad grateful happy joyful merry overjoyed
pleased proud relieved satisfied thankful thrilled""")
SAD = words("""
angry ashamed bitter cold cross dirty gloomy grumpy hungry hurt lonely puzzled sad sore sorry
tearful thirsty tired unhappy upset weary worried""")
PRAISE = words("""
amazing beautiful brilliant charming dazzling elegant excellent fabulous fantastic fine gorgeous
grand great handsome lovely magical marvelous nice perfect pretty splendid stunning superb
terrific wonderful""")

# Small creatures along the road; every plural ends in s.
ANIMAL = words("""
ant bat beaver bee beetle blackbird canary chicken chipmunk cobra cricket crow cuckoo dove duck
eagle falcon ferret finch flamingo frog gecko gopher gull hawk hen heron hornet iguana kitten lark
lizard magpie mole monkey moth newt otter owl parrot peacock pelican penguin pigeon quail raccoon
rat raven robin rook skunk slug snail snake sparrow spider squirrel stork swallow toad turtle
viper vole vulture wasp worm wren""")
# What a creature, a thing and a spot beside the road can all look like.
LOOK = words("""
ancient beautiful big bright broad charming clean cold common cool crooked curious damp dark
delicate dirty dry dull dusty elegant enormous exotic faded famous fancy fine forgotten fragile
frosty funny giant gleaming gloomy glossy graceful grand great grim heavy hidden huge large light
little lonely long lovely low lucky magic mighty modern mossy muddy mysterious neat new nice
noble noisy odd old pale peculiar perfect plain precious pretty quaint quiet rare rough
royal sandy scary scruffy shabby shady shaggy shiny silent simple slender slim small
smelly smooth snowy soft solid sooty speckled spooky spotless spotted stained sticky stout strange
striped strong sturdy tall thick thin tidy tiny twisted ugly weird wet wide wild wonderful""")
THING = words("""
bag ball basin bat bead belt bin bolt bone boot bottle bowl box brick broom brush bucket button
cage can cane card chain clip coin comb cork cup dart desk dish doormat fan flowerpot fork frame
funnel glove hammer hose jar jug kettle knife label ladle leash lid lock locket medal mitten mop
mug nail napkin oar pail pan pebble pencil pin pipe plate plug pot quill rag razor ribbon rug
ruler sack saddle sandal saucer scoop shell shoe sieve skillet slipper sock sponge spoon spring
stamp stick strap tablet tag tile tin token towel tray trowel tub vase wallet watch wheel wig
zipper""")
SPOT = words("""
alder arch barn bench birch bush cabin cairn cart cedar chapel coop cottage cross elm fence
flagpole fountain gate grave hedge hut kiln lamppost larch log maple mill mound oak palm pine post
pump rock ruin scarecrow shack shed shop shrine signpost stall statue stone stump tent tomb tower
tree trough wagon wall well willow yew""")
PLACE = words("""
abbey academy airport arena bakery bank bazaar brewery cafe castle cathedral circus clinic club
college convent court dairy depot dock factory fair farm ferry forge fort gallery harbor hostel
hotel inn kiosk laundry library lodge manor mansion market mine museum nursery office orchard
palace park pier port quarry school shipyard spa square stable stadium station store studio tavern
temple theater town_hall villa vineyard workshop zoo""")

# used: what one did with it.
WANT = rows("used", """
    album, looked at
    atlas, studied
    badge, wore
    balloon, flew
    banjo, played
    banner, waved
    bed, slept in
    bell, rang
    bike, rode
    blanket, slept under
    bracelet, wore
    bugle, blew
    camera, used
    canoe, paddled
    cello, played
    chair, sat in
    cloak, wore
    clock, wound up
    comic, read
    compass, looked at
    crown, wore
    crystal, looked at
    diary, wrote in
    doll, hugged
    drum, played
    fan, waved
    fiddle, played
    fishing rod, fished with
    flag, waved
    flute, played
    glider, flew
    globe, spun
    gong, banged
    guitar, played
    hammock, rested in
    harp, played
    hat, wore
    hoop, rolled
    horn, blew
    jewel, looked at
    kite, flew
    lamp, lit
    lantern, lit
    loom, wove on
    lute, played
    magnet, played with
    marble, rolled
    mask, wore
    mirror, looked into
    net, fished with
    novel, read
    oboe, played
    organ, played
    parasol, opened
    pen, wrote with
    piano, played
    pillow, slept on
    puppet, played with
    puzzle, played with
    quilt, slept under
    rattle, shook
    ring, wore
    robot, played with
    rug, sat on
    scooter, rode
    skateboard, rode
    sled, rode
    sofa, sat on
    spyglass, looked through
    swing, sat on
    teapot, made tea in
    teddy, hugged
    telescope, looked through
    top, spun
    tractor, drove
    trumpet, blew
    tuba, blew
    umbrella, opened
    van, drove
    violin, played
    wagon, pulled
    wand, waved
    whistle, blew
    yo-yo, played with""")

KIN = words("classmates cousins friends guests neighbors playmates pupils teachers")
BODY = words("""
arm back belly cheek chin ear elbow eye foot head heel hip jaw knee leg lip neck nose shin
shoulder toe""")

# A trouble: what stood in the way, and the tools that help against it.
TROUBLE = {
    "water": {
        "barrier": words("brook canal creek lake river stream"),
        "tool": words("boat canoe dinghy ferry houseboat kayak raft rowboat")},
    "gap": {
        "barrier": words("canyon chasm crack ditch gorge gully ravine trench"),
        "tool": words("beam board footbridge ladder log plank pole tree_trunk")},
    "gate": {
        "barrier": words("door drawbridge gate gateway grating hatch portal turnstile"),
        "tool": words("brass_key bronze_key copper_key golden_key hairpin iron_key silver_key steel_key")},
    "dark": {
        "barrier": words("cave cavern forest grotto jungle passage tunnel wood"),
        "tool": words("candle flashlight headlamp lamp lantern lightbulb spotlight torch")},
    "thorns": {
        "barrier": words("blackberry_bush briar cactus hedge hedgerow rosebush thicket thornbush"),
        "tool": words("axe blade chainsaw hatchet machete saw scythe sickle")},
    "sleeper": {
        "barrier": words("bison buffalo elephant giant hippo ogre rhino walrus"),
        "tool": words("bell bugle foghorn gong horn megaphone trumpet whistle")},
    "toll": {
        "barrier": words("bandit dragon gatekeeper guard ogre robber soldier troll"),
        "tool": words("coin_box moneybag piggy_bank pouch purse sack wallet money_belt")},
}

TABLES = {name.lower(): table for name, table in dict(globals()).items()
          if name.isupper() and name not in ("BOYS", "GIRLS", "TROUBLE")}
TABLES["name"] = BOYS | GIRLS
