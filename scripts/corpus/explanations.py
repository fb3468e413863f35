"""Explanations of simple things: true sentences, in an order that makes sense."""

from .dice import capital

# Topic, opening question, then sentences that build on each other.
TOPICS = [
    ("rain", "Where does rain come from?", [
        "The sun warms the water of seas, lakes and wet ground.",
        "Some of the water turns into vapour, which cannot be seen, and rises with the warm air.",
        "High up the air is cold, and the vapour gathers into tiny drops around specks of dust.",
        "Millions of such drops together are a cloud.",
        "The drops bump into each other and grow until the air can no longer carry them.",
        "Then they fall as rain, run into rivers, and flow back to the sea."]),
    ("shadows", "Why do things have shadows?", [
        "Light travels in straight lines.",
        "When something solid stands in its way, the light cannot bend around it.",
        "The place behind it stays dark, and we call that dark shape a shadow.",
        "In the morning and in the evening the sun is low, so shadows are long.",
        "At noon the sun is high, and shadows are short.",
        "Long ago people told the time by the shadow of a stick."]),
    ("bees", "How do bees make honey?", [
        "A bee visits many flowers and drinks a sweet juice called nectar.",
        "She carries it home in a special stomach.",
        "In the hive the nectar is passed from bee to bee and put into small wax rooms.",
        "The bees fan it with their wings until most of the water is gone.",
        "What remains is thick and sweet, and it keeps for years.",
        "In winter, when there are no flowers, the bees live on this honey."]),
    ("the moon", "Why does the moon change its shape?", [
        "The moon has no light of its own; it shines because the sun shines on it.",
        "Half of the moon is always lit, but we do not always see that half from the front.",
        "The moon travels around the earth in about a month.",
        "When the lit half faces us, we see a full moon.",
        "When it faces away from us, we see no moon at all, and this is called new moon.",
        "In between we see a part: a thin sickle, a half, and so on."]),
    ("rust", "Why does iron rust?", [
        "Iron is strong, but it does not like to be wet.",
        "Water and air together slowly change its surface.",
        "The change makes a red-brown powder that we call rust.",
        "Rust is weak and falls off, and then the iron below begins to rust as well.",
        "Paint or oil keeps the water away from the metal.",
        "That is why bridges are painted again and again."]),
    ("seeds", "How does a seed become a plant?", [
        "Inside a seed sleeps a tiny plant with a store of food.",
        "When the soil is warm and wet, the seed drinks water and swells.",
        "First a root grows down and holds on to the ground.",
        "Then a stem pushes up towards the light.",
        "The first leaves open and begin to make food from light, air and water.",
        "From then on the plant no longer needs the store in the seed."]),
    ("an echo", "What is an echo?", [
        "Sound is a trembling of the air that spreads like a ring on a pond.",
        "When it meets a wall or a cliff, it bounces back like a ball.",
        "If the wall is far away, the sound comes back late, and we hear our own voice again.",
        "In a small room the echo comes back at once, and we do not notice it.",
        "Curtains and carpets swallow sound, so a furnished room is quieter than an empty one."]),
    ("ice", "Why does ice float?", [
        "Most things shrink when they get cold and grow when they get warm.",
        "Water does so too, but only until it is nearly frozen.",
        "When it turns to ice it takes up more room than before.",
        "The same amount of water is now spread over more space, so ice is lighter than water.",
        "That is why it swims on top of a lake, and why fish can live below it in winter.",
        "It is also why a full bottle can break in the frost."]),
    ("wheels", "Why is a wheel so useful?", [
        "It is hard to pull a heavy box over the ground, because the two rub against each other.",
        "A wheel does not rub; it rolls.",
        "Only the axle in the middle rubs a little, and a drop of oil helps there.",
        "The larger the wheel, the more easily it passes over stones and holes.",
        "With a cart one person can move what ten could not carry."]),
    ("levers", "How can a small person lift a heavy stone?", [
        "Take a long, strong bar and push one end under the stone.",
        "Put a small block under the bar, close to the stone.",
        "Now press down on the far end.",
        "Your end moves a long way, the stone moves only a little, but with great force.",
        "Such a bar is called a lever.",
        "Scissors, pliers and a pair of scales are levers as well."]),
    ("magnets", "What does a magnet do?", [
        "A magnet pulls pieces of iron towards itself, even through paper.",
        "It does not pull wood, glass or copper.",
        "Every magnet has two ends, called poles.",
        "Two different poles pull each other, and two equal poles push each other away.",
        "The earth is a large, weak magnet too.",
        "That is why the needle of a compass points north."]),
    ("wind", "What makes the wind blow?", [
        "The sun does not warm all places equally.",
        "Over warm ground the air becomes light and rises.",
        "Cooler air flows in from the side to take its place, and that is the wind.",
        "By day the land is warmer than the sea, so the wind often comes from the water.",
        "At night it is the other way round."]),
    ("seasons", "Why do we have seasons?", [
        "The earth goes around the sun once a year.",
        "It does not stand upright on its way, but leans a little to one side.",
        "For half of the year our part of the earth leans towards the sun, and the days are long and warm.",
        "For the other half it leans away, and the days are short and cold.",
        "When it is summer in the north, it is winter in the south."]),
    ("a rainbow", "When can you see a rainbow?", [
        "Sunlight looks white, but it is made of many colours.",
        "When light goes into a drop of water it is bent, and each colour is bent a little differently.",
        "The drop throws the colours back, side by side.",
        "You need sun behind you and rain in front of you.",
        "Then you see red on the outside, followed by orange, yellow, green and blue, and violet on the inside."]),
    ("salt", "Where does salt come from?", [
        "Rivers wash a little salt out of the rocks and carry it to the sea.",
        "Water leaves the sea as vapour, but the salt stays behind.",
        "So the sea has slowly become salty over a very long time.",
        "People let sea water into flat ponds and wait until the sun has dried it.",
        "White salt is left on the ground and is swept together.",
        "There is also salt deep in the mountains, where there was a sea long ago."]),
    ("bridges", "Why does an arch hold?", [
        "A flat stone over a wide gap breaks in the middle.",
        "In an arch the stones are cut like slices of a round cake.",
        "Each stone leans on its neighbours and passes the weight to the side and down.",
        "While it is being built, the arch rests on a frame of wood.",
        "When the last stone is in place, the frame can be taken away.",
        "The heavier the load, the more firmly the stones are pressed together."]),
    ("paper", "How is paper made?", [
        "Paper is made from wood, straw or old rags.",
        "They are cut small, cooked, and beaten in water until only fine fibres are left.",
        "A sieve is dipped into this soup and lifted out again.",
        "The water drips away and the fibres lie across each other like felt.",
        "The wet sheet is pressed and dried.",
        "Old paper can be turned into new paper in the same way."]),
    ("clocks", "How does a clock with a pendulum keep time?", [
        "A pendulum is a weight on a rod that swings to and fro.",
        "Each swing takes the same time, whether it is wide or narrow, as long as it is small.",
        "At every swing a small hook lets a wheel move on by one tooth.",
        "Other wheels turn the hands.",
        "A weight or a spring gives the push that keeps everything going.",
        "A longer pendulum swings more slowly, so the clock can be set by moving the weight."]),
    ("bread", "Why does bread rise?", [
        "Flour, water, salt and yeast are all that a bread needs.",
        "Yeast is alive: it eats the sugar in the flour and gives off a gas.",
        "The dough is tough and stretchy, so the gas is caught in small bubbles.",
        "In a warm place the dough grows to twice its size.",
        "In the oven the bubbles grow once more, and then the heat makes the walls firm.",
        "The holes in a slice of bread are those bubbles."]),
    ("soap", "How does soap clean?", [
        "Water and oil do not mix, so water alone does not wash greasy hands.",
        "Soap is made of tiny parts with two different ends.",
        "One end holds on to grease, and the other end likes water.",
        "Many of them surround a drop of grease and carry it away.",
        "Rubbing helps, because it breaks the grease into smaller drops."]),
    ("a candle", "What burns in a candle?", [
        "It is not the wick alone that burns, or it would be gone in a moment.",
        "The heat of the flame melts the wax.",
        "The wick drinks the liquid wax and lifts it into the flame.",
        "There the wax becomes a gas, and it is this gas that burns and gives light.",
        "If you put a glass over the candle, it goes out, because fire needs air."]),
    ("migration", "Why do birds fly south?", [
        "In winter there are few insects and the ground is hard.",
        "Birds that eat insects would starve if they stayed.",
        "So they gather in autumn and fly to warmer countries.",
        "They find the way by the sun, by the stars, and by rivers and coasts that they know.",
        "In spring they come back, because the long days here give them time to feed their young."]),
    ("the tides", "Why does the sea rise and fall?", [
        "Twice a day the water comes up the beach, and twice it goes back.",
        "The moon pulls at the earth, and the water can follow the pull.",
        "On the side near the moon the sea is lifted a little, and on the far side too.",
        "The earth turns under these two hills of water.",
        "When sun and moon pull in the same line, the tide is especially high.",
        "Sailors keep a table of the tides so that they know when to leave the harbour."]),
    ("maps", "How do you read a map?", [
        "A map is a picture of the land as a bird would see it.",
        "North is usually at the top.",
        "A small line in the corner says how long a mile or a kilometre is on the paper.",
        "Blue lines are rivers, green is forest, and thin brown lines join places of the same height.",
        "Where the brown lines lie close together, the hill is steep.",
        "First find where you are, then turn the map until it fits what you see."]),
    ("wool", "How does wool become a sweater?", [
        "In spring the sheep are shorn; it does not hurt them.",
        "The wool is washed, because it is full of grease and dust.",
        "Then it is combed until all the hairs lie in one direction.",
        "Spinning twists the hairs into a long thread.",
        "The thread is dyed and wound into balls.",
        "At last somebody knits, loop by loop, until the sweater is done."]),
    ("glass", "What is glass made of?", [
        "Glass is made of sand, soda and lime.",
        "They are heated until they melt and glow.",
        "The soft glass can be blown like a bubble or poured like honey.",
        "It must cool slowly, or it will crack.",
        "For a window the molten glass is spread on a bath of liquid tin, so that it becomes perfectly flat."]),
    ("sleep", "Why do we sleep?", [
        "While we sleep, the body rests and repairs itself.",
        "Children grow most at night.",
        "The head sorts what it has seen and heard, and keeps what is important.",
        "Somebody who has slept badly makes mistakes and gets angry easily.",
        "Animals sleep too: some by day, some by night, and dolphins with one half of the brain at a time."]),
    ("compost", "What happens on a compost heap?", [
        "Leaves, peel and grass are thrown on a heap in the corner of the garden.",
        "Worms, beetles and very small living things eat them.",
        "The middle of the heap becomes warm, because all this eating gives off heat.",
        "After some months there is only dark, crumbly earth.",
        "Spread on the beds, it feeds the plants of the next year."]),
    ("money", "Why do people use money?", [
        "Long ago people swapped one thing for another.",
        "A farmer with a cow who wanted a pair of shoes had a problem: the cow was worth far more.",
        "Besides, the shoemaker may not have needed a cow at all.",
        "Money solves both problems, because everybody takes it and it can be divided.",
        "It also keeps: nobody can save fresh fish for a year, but a coin is still a coin."]),
    ("ships", "Why does an iron ship float?", [
        "A nail sinks, but a ship of iron swims, and that seems strange.",
        "What counts is not the metal alone but the whole ship, with all the air inside.",
        "A ship pushes water aside, and the water pushes back.",
        "As long as the pushed water is as heavy as the ship, the ship floats.",
        "When it is loaded, it sinks a little deeper and pushes more water aside.",
        "If water gets in and takes the place of the air, the ship goes down."]),
]

OPENINGS = ["{question}", "{question} This is how it works.", "Somebody asked: \"{question}\" Here is the answer.",
            "A short lesson about {topic}.", "{question} It is easier than it seems.", "About {topic}."]
CLOSINGS = ["", "", " Now you know something about {topic}.", " That is all there is to it.",
            " Look for it the next time you are outside.", " So much for {topic}."]
QUESTIONS = ["And then?", "What happens next?", "Go on, please.", "I see. And after that?", "Is that all?",
             "Really?", "That makes sense. What else?"]


def explanation(dice):
    """An opening, some of the sentences in their order, perhaps a closing."""
    topic, question, sentences = dice.pick(TOPICS)
    body = sentences[:dice.number(3, len(sentences))]
    text = dice.pick(OPENINGS).format(topic=topic, question=question) + " " + " ".join(body)
    return text + dice.pick(CLOSINGS).format(topic=topic)


def lesson(dice, pupil, teacher):
    """The same as a talk between a pupil and a teacher."""
    topic, question, sentences = dice.pick(TOPICS)
    count = dice.number(3, len(sentences))
    lines = [f"{pupil.name}: {question}", f"{teacher.name}: {sentences[0]}"]
    for sentence, reply in zip(sentences[1:count], dice.some(QUESTIONS, len(QUESTIONS))):
        lines += [f"{pupil.name}: {reply}", f"{teacher.name}: {sentence}"]
    lines.append(f"{pupil.name}: " + dice.pick([
        f"Thank you. Now I understand {topic}.", "Thank you, that was clear.",
        "I will tell my brother about it.", "I had always wondered about that."]))
    return "\n".join(lines)


def summary(dice):
    """Key sentences as a numbered list under a heading."""
    topic, question, sentences = dice.pick(TOPICS)
    count = dice.number(3, len(sentences))
    return "\n".join([f"{capital(topic)}: {question}"]
                     + [f"{number}. {sentence}" for number, sentence in enumerate(sentences[:count], 1)])
