"""Names, things and facts that the corpus writers draw from."""

from .dice import Person

FEMALE = ("Ada Anna Bella Carla Clara Dora Edith Elena Emma Fiona Greta Hanna Ida Ines Iris Jana Julia Kira "
          "Lena Lily Mara Maya Mina Nora Olga Paula Petra Rosa Ruth Sara Sofia Tessa Thea Uma Vera Wanda "
          "Yara Zoe").split()
MALE = ("Adam Amir Anton Ben Boris Carlo Cyrus Dan David Emil Erik Felix Finn Georg Hugo Igor Ivan Jakob Jonas "
        "Karl Leo Luis Marco Milo Nils Noah Omar Oscar Otto Paul Pedro Ravi Samir Simon Theo Tom Victor Yusuf "
        "Walter").split()

ANIMAL_FRIENDS = ["fox", "hedgehog", "rabbit", "owl", "mouse", "squirrel", "badger", "crow", "frog", "goat",
                  "beaver", "heron", "otter", "duck", "sparrow", "mole"]
TEMPERS = ["quiet", "curious", "patient", "cheerful", "stubborn", "careful", "restless", "kind", "clever", "shy",
           "proud", "gentle", "sleepy", "brave"]
VILLAGES = ["Alder Hill", "Brookend", "Cold Harbour", "Dunmere", "Eastwell", "Fernside", "Greyford", "Hollowbank",
            "Longmeadow", "Millbridge", "Northgate", "Oakhurst", "Pebble Bay", "Redcliff", "Stonebridge",
            "Thornfield", "Underwood", "Westport"]
PLACES = ["the market", "the harbour", "the old mill", "the library", "the school", "the railway station",
          "the bakery", "the river bank", "the orchard", "the lighthouse", "the workshop", "the town square",
          "the bridge", "the forest", "the stable", "the post office"]
LOST_THINGS = [("key", "small brass"), ("scarf", "red woollen"), ("book", "blue"), ("kite", "yellow paper"),
               ("watch", "old silver"), ("glove", "green leather"), ("whistle", "tin"), ("map", "folded"),
               ("coin", "lucky copper"), ("letter", "sealed"), ("lamp", "little oil"), ("basket", "willow"),
               ("button", "pearl"), ("pencil", "short red"), ("ball", "striped"), ("compass", "scratched")]
ROOMS = ["in the kitchen", "under the stairs", "behind the sofa", "in the garden shed", "on the window sill",
         "in the attic", "beside the well", "under the bed", "in the coat pocket", "between the flower pots",
         "on the top shelf", "in the wheelbarrow", "behind the curtain", "under the apple tree"]
# Kind, a sentence, and the degrees it goes with in winter and in the rest of the year (None: not then).
WEATHER = [("sunny", "The sun stood high and there was not a cloud to be seen", (0, 8), (14, 27)),
           ("rainy", "Rain ran down the windows and filled the gutters", (2, 9), (8, 18)),
           ("windy", "The wind pulled at the roofs and bent the tall grass", (1, 9), (7, 19)),
           ("foggy", "Fog lay over the fields, and the trees looked like ghosts", (-2, 6), (5, 13)),
           ("cloudy", "Grey clouds hung low, but it stayed dry", (-1, 8), (9, 20)),
           ("snowy", "Snow covered the paths and made every sound soft", (-6, 1), None),
           ("frosty", "Frost glittered on the fences and the puddles were hard", (-9, -1), None),
           ("stormy", "Thunder rolled behind the hills and the air was heavy", None, (16, 27))]
SEASONS = ["spring", "summer", "autumn", "winter"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December"]

# Name and price in pence.
GOODS = [("apple", 20), ("pear", 25), ("loaf of bread", 150), ("egg", 15), ("lemon", 30), ("jar of honey", 320),
         ("candle", 45), ("pencil", 35), ("notebook", 180), ("bar of soap", 95), ("ball of string", 70),
         ("bottle of milk", 110), ("cabbage", 85), ("onion", 12), ("bag of flour", 140), ("paint brush", 160),
         ("flower pot", 130), ("box of matches", 40), ("sheet of paper", 5), ("bag of nails", 210)]

# Animal, kind, legs, home, food, sound or habit.
ANIMALS = [("cow", "mammal", 4, "in a field", "grass", "gives milk"),
           ("hen", "bird", 2, "in a coop", "grain", "lays eggs"),
           ("bee", "insect", 6, "in a hive", "nectar", "makes honey"),
           ("spider", "arachnid", 8, "in a web", "flies", "spins silk"),
           ("frog", "amphibian", 4, "by a pond", "insects", "begins its life as a tadpole"),
           ("horse", "mammal", 4, "in a stable", "hay", "can sleep standing up"),
           ("owl", "bird", 2, "in a hollow tree", "mice", "hunts at night"),
           ("ant", "insect", 6, "in a nest under the ground", "seeds", "carries loads heavier than itself"),
           ("goose", "bird", 2, "by a lake", "grass", "flies south before winter"),
           ("goat", "mammal", 4, "on a hillside", "leaves", "climbs steep rocks"),
           ("bat", "mammal", 2, "in a cave", "moths", "finds its way by echoes"),
           ("snake", "reptile", 0, "among stones", "small animals", "sheds its skin"),
           ("trout", "fish", 0, "in a cold stream", "flies and worms", "breathes through gills"),
           ("sheep", "mammal", 4, "in a meadow", "grass", "gives wool"),
           ("beetle", "insect", 6, "under bark", "wood and leaves", "has hard wing covers"),
           ("duck", "bird", 2, "on a pond", "water plants", "has feathers that shed water"),
           ("tortoise", "reptile", 4, "in a dry garden", "leaves and fruit", "carries its house on its back"),
           ("beaver", "mammal", 4, "in a lodge of branches", "bark", "builds dams"),
           ("swallow", "bird", 2, "under a roof", "insects", "builds its nest from mud"),
           ("crab", "crustacean", 10, "on the shore", "almost anything", "walks sideways")]

# Trade, place of work, tools, what is made or done.
TRADES = [("baker", "bakery", ["oven", "scale", "wooden table"], "bakes bread before sunrise"),
          ("carpenter", "workshop", ["saw", "plane", "hammer"], "builds tables and doors"),
          ("blacksmith", "forge", ["anvil", "hammer", "bellows"], "shapes hot iron"),
          ("gardener", "garden", ["spade", "rake", "watering can"], "looks after the flower beds"),
          ("tailor", "shop", ["needle", "pair of scissors", "tape measure"], "sews coats and mends trousers"),
          ("fisherman", "boat", ["net", "rope", "lantern"], "goes out with the tide"),
          ("teacher", "school", ["blackboard", "globe", "bell"], "explains things until they are clear"),
          ("potter", "studio", ["wheel", "kiln", "sponge"], "turns clay into bowls"),
          ("miller", "mill", ["millstone", "sack", "sieve"], "grinds grain into flour"),
          ("clockmaker", "workshop", ["pair of tweezers", "lens", "tiny screwdriver"], "makes old clocks tick again"),
          ("beekeeper", "orchard", ["veil", "smoker", "honey spoon"], "cares for the hives"),
          ("postman", "post office", ["bag", "bicycle", "cap"], "knows every door in the village"),
          ("mason", "building yard", ["trowel", "level", "bucket"], "lays one stone upon another"),
          ("doctor", "practice", ["lamp", "thermometer", "notebook"], "listens before she speaks")]


def weather(dice, season):
    """Kind, sentence and degrees of a day in this season."""
    while True:
        kind, sky, winter, rest = dice.pick(WEATHER)
        degrees = winter if season == "winter" else rest
        if degrees:
            return kind, sky, dice.number(*degrees)


def season_of(month):
    """The season in the north: December is winter."""
    return SEASONS[(MONTHS.index(month) + 10) % 12 // 3]


def person(dice):
    return Person(dice, FEMALE, MALE)


def two_people(dice):
    first = person(dice)
    while True:
        second = person(dice)
        if second.name != first.name:
            return first, second
