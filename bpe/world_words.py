"""
The words of the fiction: typed tables, so that whatever is drawn makes sense where it stands.

A table maps a word to the further facts that come with it (see world_grammar.py). A table of
adjectives is named after a typical member: "wild" are words for animals, "worn" for household things,
"still" for spots beside a road. No word is written where a or an would follow the sound and not the
letter (hour, unicorn).
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
hopeful humble jolly keen lazy lively lonely loud loyal merry messy modest moody nervous nimble
noisy nosy plain playful plucky plump polite proud quick quiet restless rough scruffy serious
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
UNIT = words("days weeks months years")
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
ADVERB = words("""
anxiously boldly bravely calmly cheerfully dreamily eagerly earnestly firmly gently gladly
gloomily grumpily happily hopefully hoarsely loudly merrily nervously politely proudly quickly
quietly sadly shyly sleepily slowly softly solemnly sternly sweetly timidly""")
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
WILD = words("""
ancient brave brown cautious clean dirty dusty elderly fat foolish friendly furry gentle giddy
grumpy hungry idle jealous jumpy kind lame large lean little lost mad mighty muddy old pale
patient polite pompous poor ragged rich rude selfish shabby shaggy sick slim sneezing sober
speckled spotted striped strong tame thin tired ugly wet wicked wild wise""")
THING = words("""
bag ball basin bat bead belt bin bolt bone boot bottle bowl box brick broom brush bucket button
cage can cane card chain clip coin comb cork cup dart desk dish doormat fan flowerpot fork frame
funnel glove hammer hose jar jug kettle knife label ladle leash lid lock locket medal mitten mop
mug nail napkin oar pail pan pebble pencil pin pipe plate plug pot quill rag razor ribbon rug
ruler sack saddle sandal saucer scoop shell shoe sieve skillet slipper sock sponge spoon spring
stamp stick strap tablet tag tile tin token towel tray trowel tub vase wallet watch wheel wig
zipper""")
WORN = words("""
antique black blue borrowed brown cheap clean costly damaged damp dirty dusty extra faded fancy
fine gray greasy green grimy grubby handmade heavy huge large light little lucky muddy new
nice odd old orange painted pink plain pretty purple red sandy shabby small smelly spare stained
sticky stolen strange thick thin tiny ugly wet white worn yellow""")
SPOT = words("""
alder arch barn bench birch bush cabin cairn cart cedar chapel coop cottage cross elm fence
flagpole fountain gate grave hedge hut kiln lamppost larch log maple mill mound oak palm pine post
pump rock ruin scarecrow shack shed shop shrine signpost stall statue stone stump tent tomb tower
tree trough wagon wall well willow yew""")
STILL = words("""
ancient bare big black broad brown cold crooked damp dark distant dusty enormous famous frosty
gloomy grand gray grim haunted hidden huge icy large leaning little lonely lovely low mighty mossy
muddy nearby odd old pale plain pretty quaint quiet sandy shabby shady silent small snowy solitary
spooky stout strange sunny tall tiny twisted ugly weird wet white wide windy""")
PLACE = words("""
abbey academy airport arena bakery bank bazaar brewery cafe castle cathedral circus clinic club
college convent court dairy depot dock factory fair farm ferry forge fort gallery harbor hostel
hotel inn kiosk laundry library lodge manor mansion market mine museum nursery office orchard
palace park pier port quarry school shipyard spa square stable stadium station store studio tavern
temple theater town_hall villa vineyard workshop zoo""")
FAR = words("""
ancient busy calm cozy crowded distant dusty elegant famous fine gloomy grand great large little
lonely lovely modern new noisy old peaceful pretty quaint quiet royal shabby small sunny tidy
white windy""")
NOTE = words("""
book card child clerk diary letter map note notice painting pilot poem poster rumor sign song
stranger telegram traveler vision voice""")

# make: what it is made of, or that it is big, decides what can happen to it.
WANT = rows("make use used", """
    album, cloth, look at, looked at
    atlas, cloth, study, studied
    badge, hard, wear, wore
    balloon, cloth, fly, flew
    banjo, hard, play, played
    banner, cloth, wave, waved
    bed, big, sleep in, slept in
    bell, hard, ring, rang
    bike, big, ride, rode
    blanket, cloth, sleep under, slept under
    bracelet, hard, wear, wore
    bugle, hard, blow, blew
    camera, hard, use, used
    canoe, big, paddle, paddled
    cello, big, play, played
    chair, big, sit in, sat in
    cloak, cloth, wear, wore
    clock, hard, wind up, wound up
    comic, cloth, read, read
    compass, hard, look at, looked at
    crown, hard, wear, wore
    crystal, hard, look at, looked at
    diary, cloth, write in, wrote in
    doll, cloth, hug, hugged
    drum, hard, play, played
    fan, cloth, wave, waved
    fiddle, hard, play, played
    fishing rod, hard, fish with, fished with
    flag, cloth, wave, waved
    flute, hard, play, played
    glider, hard, fly, flew
    globe, hard, spin, spun
    gong, hard, bang, banged
    guitar, hard, play, played
    hammock, cloth, rest in, rested in
    harp, big, play, played
    hat, cloth, wear, wore
    hoop, hard, roll, rolled
    horn, hard, blow, blew
    jewel, hard, look at, looked at
    kite, cloth, fly, flew
    lamp, hard, light, lit
    lantern, hard, light, lit
    loom, big, weave on, wove on
    lute, hard, play, played
    magnet, hard, play with, played with
    marble, hard, roll, rolled
    mask, cloth, wear, wore
    mirror, hard, look into, looked into
    net, cloth, fish with, fished with
    novel, cloth, read, read
    oboe, hard, play, played
    organ, big, play, played
    parasol, cloth, open, opened
    pen, hard, write with, wrote with
    piano, big, play, played
    pillow, cloth, sleep on, slept on
    puppet, cloth, play with, played with
    puzzle, hard, play with, played with
    quilt, cloth, sleep under, slept under
    rattle, hard, shake, shook
    ring, hard, wear, wore
    robot, hard, play with, played with
    rug, cloth, sit on, sat on
    scooter, big, ride, rode
    skateboard, hard, ride, rode
    sled, big, ride, rode
    sofa, big, sit on, sat on
    spyglass, hard, look through, looked through
    swing, big, sit on, sat on
    teapot, hard, make tea in, made tea in
    teddy, cloth, hug, hugged
    telescope, hard, look through, looked through
    top, hard, spin, spun
    tractor, big, drive, drove
    trumpet, hard, blow, blew
    tuba, hard, blow, blew
    umbrella, cloth, open, opened
    van, big, drive, drove
    violin, hard, play, played
    wagon, big, pull, pulled
    wand, hard, wave, waved
    whistle, hard, blow, blew
    yo-yo, hard, play with, played with""")
FINE = words("""
ancient bright cheap classic clean costly cute dainty dusty elegant enchanted exotic fancy fine
foreign giant glossy good grand heavy huge large light little lovely lucky magic modern neat new
nice odd old painted plain precious pretty rare royal shiny simple small smart special spotless
strange stylish tidy tiny trusty wonderful""")

KIN = words("classmates cousins friends guests neighbors playmates pupils teachers")
BODY = words("""
arm back belly cheek chin ear elbow eye foot head heel hip jaw knee leg lip neck nose shin
shoulder toe""")
NOISE = words("""
bellowed called clapped coughed growled hooted howled hummed roared sang screamed shouted shrieked
stamped wailed whistled yelled""")
SHOVE = words("banged bumped hammered kicked knocked poked pounded pulled pushed rattled shook tugged")
GOO = words("bark clay dough grass honey jam leaves moss mud sap snow straw syrup wax")
HANDY = words("""
battered big black brown cheap clean dusty fine good gray handmade heavy large light
little new nice old plain simple small spare special strong sturdy tiny trusty worn""")

# A trouble: what stood in the way, how it looked, and the tools that help against it.
TROUBLE = {
    "water": {
        "barrier": words("brook canal creek lake river stream"),
        "grim": words("""
            broad cold cool deep fast foamy icy muddy murky raging roaring rough rushing swift swollen
            wide wild"""),
        "tool": words("boat canoe dinghy ferry houseboat kayak raft rowboat")},
    "gap": {
        "barrier": words("canyon chasm crack ditch gorge gully ravine trench"),
        "grim": words("awful broad dark deep enormous giant gloomy huge rocky scary steep wide yawning"),
        "tool": words("beam board footbridge ladder log plank pole tree_trunk")},
    "gate": {
        "barrier": words("door drawbridge gate gateway grating hatch portal turnstile"),
        "grim": words("barred bolted chained closed locked padlocked sealed shut"),
        "tool": words("brass_key bronze_key copper_key golden_key hairpin iron_key silver_key steel_key")},
    "dark": {
        "barrier": words("cave cavern forest grotto jungle passage tunnel wood"),
        "grim": words("black creepy dark dim dusky gloomy murky pitch-black shadowy spooky unlit"),
        "tool": words("candle flashlight headlamp lamp lantern lightbulb spotlight torch")},
    "thorns": {
        "barrier": words("blackberry_bush briar cactus hedge hedgerow rosebush thicket thornbush"),
        "grim": words("bristly dense dry high jagged prickly scratchy sharp spiky spiny tangled thick wild"),
        "tool": words("axe blade chainsaw hatchet machete saw scythe sickle")},
    "stone": {
        "barrier": words("boulder crate log pillar rock slab statue tree_trunk"),
        "grim": words("big bulky colossal enormous giant gigantic great heavy huge hefty massive weighty"),
        "tool": words("beam crane crowbar iron_bar jack lever pulley winch")},
    "guard": {
        "barrier": words("billy_goat bull goose ostrich ram rooster swan turkey"),
        "grim": words("""
            angry bad-tempered cruel fierce furious grouchy grumpy mean nasty quarrelsome savage wicked
            wild"""),
        "handy": TASTY,
        "tool": words("biscuit bun carrot cookie cracker muffin pretzel turnip")},
    "sleeper": {
        "barrier": words("bison buffalo elephant giant hippo ogre rhino walrus"),
        "grim": words("dozing dreaming exhausted lazy sleeping sleepy slumbering snoring tired weary"),
        "tool": words("bell bugle foghorn gong horn megaphone trumpet whistle")},
    "fork": {
        "barrier": words("church cornfield crossroads farmhouse milestone signpost statue waterfall"),
        "grim": words("crumbling dusty faded foggy gloomy gray lonely mossy muddy old weathered"),
        "tool": words("atlas chart compass diagram globe guidebook map sketch")},
    "toll": {
        "barrier": words("bandit dragon gatekeeper guard ogre robber soldier troll"),
        "grim": words("bored cold gruff grumpy rude sly sour stern strict stubborn sullen surly tough"),
        "tool": words("coin_box moneybag piggy_bank pouch purse sack wallet money_belt")},
    "height": {
        "barrier": words("balcony chimney cliff haystack ledge pillar rooftop terrace"),
        "grim": words("big enormous giant gigantic great high lofty steep tall towering"),
        "tool": words("broom crate hook ladder pole rake rope stepladder stool")},
    "depth": {
        "barrier": words("burrow cellar crevice hole moat pit pond shaft well"),
        "grim": words("black cold damp dark deep dim gloomy murky narrow slimy smelly wet"),
        "tool": words("bucket chain fishing_rod grapple hook magnet net rake rope")},
    "torn": {
        "barrier": words("gash hole rip slash split tear"),
        "grim": words("awful big deep enormous gaping horrible huge jagged large long nasty ugly wide"),
        "tool": words("darning_needle needle patch ribbon scrap_of_cloth sewing_kit spool_of_thread")},
    "broken": {
        "barrier": words("break chip crack dent fracture gap hole scratch"),
        "grim": words("awful big deep enormous gaping horrible huge jagged large long nasty ugly wide"),
        "tool": words("coil_of_wire hammer pot_of_glue roll_of_tape screwdriver toolbox wrench")},
}

TABLES = {name.lower(): table for name, table in dict(globals()).items()
          if name.isupper() and name not in ("BOYS", "GIRLS", "TROUBLE")}
TABLES["name"] = BOYS | GIRLS
