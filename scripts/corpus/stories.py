"""Short stories: a few plots, each with many turns."""

from . import world
from .dice import a, capital, listed, plural, words


def opening(dice, who, village):
    season = dice.pick(world.SEASONS)
    _, sky, _ = world.weather(dice, season)
    trade = dice.pick(world.TRADES)[0]
    return dice.pick([
        f"{who.name} lived in {village}, a small village where everybody knew everybody.",
        f"It was {a(season)} morning in {village}, and {who.name} was already up. {sky}.",
        f"In {village} there lived {a(dice.pick(world.TEMPERS))} child called {who.name}.",
        f"{who.name} was the child of {a(trade)} in {village}. {sky}.",
        f"One day in {season}, {who.name} woke up early. {sky}.",
        f"{sky}. {who.name} sat at the window and thought about the day."])


def lost_thing(dice):
    """Something is lost, looked for in several places, and found."""
    who, friend = world.two_people(dice)
    village, (thing, look) = dice.pick(world.VILLAGES), dice.pick(world.LOST_THINGS)
    places = dice.some(world.ROOMS, dice.number(3, 5))
    lines = [opening(dice, who, village),
             dice.pick([f"{who.His} {look} {thing} was gone.",
                        f"But where was {who.his} {look} {thing}? {who.He} could not find it anywhere.",
                        f"{who.He} wanted to go out, but {who.his} {look} {thing} was missing."])]
    for turn, place in enumerate(places[:-1]):
        lines.append(dice.pick([
            f"{who.He} looked {place}, but there was only {dice.pick(['dust', 'an old shoe', 'a spider', 'nothing'])}.",
            f"{'First' if turn == 0 else 'Then'} {who.he} searched {place}. No {thing}.",
            f"It was not {place} either." if turn else f"It was not {place}.",
            f"\"Perhaps it is {place},\" said {friend.name}. They looked together, without luck."]))
    lines.append(dice.pick([
        f"At last {friend.name} called out: the {thing} lay {places[-1]}, where {who.name} had left it.",
        f"In the evening {who.he} gave up, and just then {who.he} saw it {places[-1]}.",
        f"\"Think,\" said {friend.name}. \"Where did you have it last?\" {who.name} thought, ran, and found it "
        f"{places[-1]}.",
        f"{capital(a(dice.pick(world.ANIMAL_FRIENDS)))} had carried it away, and there it was, {places[-1]}."]))
    lines.append(dice.pick([
        f"From that day on the {thing} had its own hook by the door.",
        f"{who.name} laughed and thanked {friend.name}.", f"\"Next time I will look there first,\" said {who.name}.",
        f"{who.He} held it tight all the way home.", "Everybody was glad, and there was soup for supper."]))
    return " ".join(lines)


def journey(dice):
    """Someone carries something from one village to another and meets somebody at each stop."""
    who = world.person(dice)
    start, goal = dice.some(world.VILLAGES, 2)
    load = dice.pick(["a letter for the doctor", "a basket of eggs", "a box of candles", "two clay jugs",
                      "a sack of flour", "a present for an aunt", "a mended clock", "a young apple tree"])
    stops = dice.some(world.PLACES, dice.number(2, 4))
    lines = [f"{who.name} had to bring {load} from {start} to {goal}.",
             dice.pick([f"The way was {words(dice.number(3, 20))} miles long.", "It was a long way on foot.",
                        "The road went over a hill and along a stream.", f"{who.He} set out before sunrise."])]
    for turn, stop in zip(dice.some(range(5), len(stops)), stops):
        trade, _, tools, _ = dice.pick(world.TRADES)
        animal = dice.pick(world.ANIMAL_FRIENDS)
        lines.append([
            f"At {stop} {who.he} met {a(trade)} with {a(dice.pick(tools))}, who showed {who.him} a shorter way.",
            f"Near {stop} {a(animal)} crossed the road, and {who.name} stopped to watch it.",
            f"At {stop} it began to rain, so {who.he} waited under a roof until it was over.",
            f"By {stop} {who.he} rested, ate a piece of bread and drank some water.",
            f"At {stop} {a(trade)} asked {who.him} for help, and {who.he} stayed {words(dice.number(2, 3))} hours."][turn])
    hour = dice.number(2, 9)
    lines.append(dice.pick([
        f"When {who.he} reached {goal}, the clock struck {words(hour)}.",
        f"At {words(hour)} o'clock {who.he} saw the first houses of {goal}.",
        f"It was dark when {who.he} came to {goal}, but there was a light in one window."]))
    lines.append(dice.pick([
        "Nothing was broken and nothing was lost.", f"{who.He} was tired, but proud.",
        f"They gave {who.him} hot tea and a warm bed.", f"\"You are a reliable {'girl' if who.is_female else 'boy'}"
        ",\" they said.", f"The next day {who.he} walked back, and the way seemed only half as long."]))
    return " ".join(lines)


def fable(dice):
    """Two animals disagree; what happens shows who was right."""
    first, second = dice.some(world.ANIMAL_FRIENDS, 2)
    temper, other = dice.some(world.TEMPERS, 2)
    plot = dice.pick([
        ("gather nuts for the winter", "play in the sun", "When the snow came, the {first} had enough to eat.",
         "Who works in summer is not hungry in winter."),
        ("look before every step", "run as fast as possible", "There was a hole in the path, and only the {second} fell "
         "in.", "Slow and safe is faster than quick and sorry."),
        ("ask the way", "guess it", "By evening the {second} was back where they had started.",
         "A question costs nothing."),
        ("share the apples", "keep them all", "Alone the {second} could not eat them, and half of them went bad.",
         "What you share is not lost."),
        ("mend the roof while it was dry", "wait until it rained", "The first storm found the {first} asleep in a dry "
         "bed, and the {second} wet to the skin.", "Do today what the rain will not let you do tomorrow."),
        ("tell the truth", "make up a story", "Nobody believed the {second} a second time.",
         "One lie spoils a hundred true words.")])
    wise, foolish, outcome, moral = plot
    lines = [f"{capital(a(temper))} {first} and {a(other)} {second} lived not far from {dice.pick(world.PLACES)}.",
             f"The {first} wanted to {wise}, but the {second} wanted to {foolish}.",
             dice.pick([f"\"You worry too much,\" said the {second}.", f"\"That is dull,\" said the {second}.",
                        f"The {second} only laughed."]),
             dice.pick([f"\"We shall see,\" said the {first}.", f"The {first} said nothing and began.",
                        f"\"Do as you like,\" answered the {first}."]),
             outcome.format(first=first, second=second),
             dice.pick([f"\"Come in,\" said the {first}, for it was not one to bear a grudge.",
                        f"The {second} was ashamed, and the next time the two did it together.",
                        f"\"You were right,\" said the {second} in a small voice."]),
             moral]
    return " ".join(lines)


def working_day(dice):
    """A day of somebody with a trade, hour by hour."""
    who = world.person(dice)
    trade, place, tools, habit = dice.pick(world.TRADES)
    habit = habit.replace("she speaks", f"{who.he} speaks")
    visitor = world.person(dice)
    hour = dice.number(4, 8)
    lines = [f"{who.name} is {a(trade)} in {dice.pick(world.VILLAGES)} and {habit}.",
             f"At {words(hour)} in the morning {who.he} opens the door of the {place} and looks at {who.his} tools: "
             f"{listed(['the ' + tool for tool in tools])}.",
             dice.pick([f"First {who.he} sweeps the floor.", f"{who.He} lights the stove and drinks a cup of tea.",
                        f"{who.He} reads what is written on the slate for today.",
                        f"{who.He} greets the cat, which sleeps in the corner."]),
             dice.pick([f"At {words(hour + 3)} a customer comes in, {visitor.name} by name, and asks a question.",
                        f"Before noon {visitor.name} comes by and stays for a talk.",
                        f"Around {words(hour + 4)} the first work is done."]),
             dice.pick([f"\"Good work takes its time,\" says {who.name}.", f"\"It will be ready on "
                        f"{dice.pick(world.DAYS)},\" {who.he} promises.", f"{who.name} thinks for a while and nods.",
                        f"\"I learned it from my {'mother' if dice.chance(0.5) else 'father'},\" {who.he} says."]),
             dice.pick([f"In the afternoon {who.he} cleans the {dice.pick(tools)} and puts everything back in its place.",
                        f"After lunch {who.he} teaches a young helper how to use the {dice.pick(tools)}.",
                        f"Later {who.he} writes down what has been sold: {words(dice.number(2, 40))} things in all."]),
             dice.pick([f"When the sun goes down, {who.he} locks the {place} and walks home.",
                        f"In the evening everything has its place again, the {dice.pick(tools)} too.",
                        f"{who.He} is tired in the evening, and content."])]
    return " ".join(lines)


def letter(dice):
    writer, reader = world.two_people(dice)
    village, day, month = dice.pick(world.VILLAGES), dice.number(1, 28), dice.pick(world.MONTHS)
    thing, look = dice.pick(world.LOST_THINGS)
    trade = dice.pick(world.TRADES)[0]
    kind, sky, _ = world.weather(dice, world.season_of(month))
    fruit = {"June": "cherry", "July": "cherry", "August": "plum", "September": "pear", "October": "apple"}.get(month)
    news = dice.some([
        f"We have {a(kind)} week here. {sky}.",
        f"Our neighbour, {a(trade)}, has promised to show me the work.",
        f"I have lost my {look} {thing}. Did I leave it with you?",
        f"Yesterday {a(dice.pick(world.ANIMAL_FRIENDS))} came right up to the door.",
        f"The {plural(fruit)} are ripe, and we have picked {words(dice.number(3, 30))} baskets." if fruit else
        f"There are still {words(dice.number(3, 30))} jars of jam on the shelf.",
        f"Last {dice.pick(world.DAYS)} we walked to {dice.pick(world.PLACES)} and back again.",
        f"I am reading a book about {dice.pick(['ships', 'bees', 'stars', 'old castles', 'a long journey'])}, and it is "
        f"{dice.pick(['wonderful', 'a little sad', 'very funny', 'longer than I thought'])}.",
        f"Grandmother is well again and asks about you every day.",
        "The bridge is being repaired, so the post takes longer than usual."], dice.number(3, 5))
    end = dice.pick(["Write soon.", "Please come and visit us before the winter.", "Tell me how you are.",
                     f"We will be at the station on {dice.pick(world.DAYS)} at {words(dice.number(2, 11))} o'clock.",
                     "I hope that you are all well."])
    return (f"{village}, {day} {month}\n\nDear {reader.name},\n\n{' '.join(news)} {end}\n\n"
            f"{dice.pick(['Yours', 'With love', 'Best wishes', 'Your friend'])},\n{writer.name}")


def diary(dice):
    """Some days of one life in the first person; what is begun on one day is told to its end."""
    who, friend = world.two_people(dice)
    month = dice.pick(world.MONTHS)
    first, start = dice.number(0, 6), dice.number(1, 20)
    work, done = dice.pick([
        ("a bird house", "The bird house hangs in the tree"), ("a kite", "The kite flies"),
        ("a wooden boat", "The boat swims without tipping over"), ("a pair of socks", "The socks are warm"),
        ("a map of the village", "The map is finished, even the smallest path is on it"),
        ("a shelf for the books", "The shelf stands, and it does not shake"),
        ("a song for the feast", "Today we sang the song, and nobody laughed")])
    middle = dice.shuffled([
        f"I worked on it for {words(dice.number(2, 5))} hours and made a mistake right at the start.",
        f"{friend.name} came to help. Together it is twice as much fun.",
        f"No time today. I had to help at {dice.pick(world.PLACES)}.",
        f"I asked the {dice.pick(world.TRADES)[0]} for advice. \"Slowly,\" was all I heard.",
        f"{capital(a(dice.pick(world.ANIMAL_FRIENDS)))} watched me through the window the whole afternoon.",
        "Half of it is done. I can already see what it will look like."])
    count = dice.number(3, 6)
    entries = [f"Today I began {work}. {friend.name} says that I will never finish it."] + middle[:count - 2]
    entries.append(f"{done}! {friend.name} {dice.pick(['did not believe it at first', 'wants one too', 'was amazed'])}.")
    lines = [f"From the diary of {who.name}"]
    for day, entry in enumerate(entries):
        kind, sky, degrees = world.weather(dice, world.season_of(month))
        remark = dice.pick([f"{sky}.", f"It was {kind}.", f"Only {degrees} degrees." if degrees < 12 else
                            f"{capital(words(degrees))} degrees at noon.", ""])
        lines.append(" ".join(f"{world.DAYS[(first + day) % 7]}, {start + day} {month}. {remark} {entry}".split()))
    return "\n\n".join(lines)
