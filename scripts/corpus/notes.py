"""Arithmetic, lists, tables and notes: texts with a strict form."""

from . import world
from .dice import a, capital, listed, plural, words
from .dialogues import money, plural_goods


def word_problem(dice):
    """A small sum in words, with its solution step by step."""
    who, other = world.two_people(dice)
    thing = dice.pick(["apple", "marble", "stamp", "shell", "button", "nut", "card", "coin", "pencil", "egg"])
    many = plural(thing)
    first, second = dice.number(5, 60), dice.number(2, 40)
    kind = dice.number(0, 3)
    if kind == 0:
        return (f"{who.name} has {first} {many}. {other.name} gives {who.him} {second} more. How many {many} does "
                f"{who.name} have now?\n{first} + {second} = {first + second}.\n{who.name} has {first + second} {many}.")
    if kind == 1:
        first += second
        return (f"There are {first} {many} in a basket. {who.name} takes {second} of them. How many are left?\n"
                f"{first} - {second} = {first - second}.\n{capital(words(first - second))} "
                f"{plural(thing, first - second)} {'is' if first - second == 1 else 'are'} left.")
    if kind == 2:
        rows, columns = dice.number(2, 12), dice.number(2, 12)
        return (f"{who.name} puts {many} on a table, in {rows} rows of {columns}. How many {many} are on the table?\n"
                f"{rows} x {columns} = {rows * columns}.\nThere are {rows * columns} {many} on the table.")
    people, each = dice.number(2, 9), dice.number(2, 12)
    rest = dice.number(0, people - 1)
    total = people * each + rest
    return (f"{people} children share {total} {many} fairly. How many does each child get?\n"
            f"{total} / {people} = {each}" + (f", and {rest} left over" if rest else "") +
            f".\nEach child gets {each} {many}" + (f", and {rest} {'stays' if rest == 1 else 'stay'} in the bag." if rest
                                                   else "."))


def sums(dice):
    """A column of sums, or a times table."""
    if dice.chance(0.4):
        factor = dice.number(2, 12)
        return "\n".join([f"The table of {words(factor)}:"]
                         + [f"{count} x {factor} = {count * factor}" for count in range(1, dice.number(6, 12) + 1)])
    lines = []
    for _ in range(dice.number(5, 10)):
        left, right = dice.number(1, 99), dice.number(1, 99)
        if dice.chance(0.5):
            lines.append(f"{left} + {right} = {left + right}")
        else:
            left, right = max(left, right), min(left, right)
            lines.append(f"{left} - {right} = {left - right}")
    return "\n".join([dice.pick(["Sums for today:", "Exercises:", "Let us calculate.", "Work these out."])] + lines)


def sequence(dice):
    start, step, count = dice.number(0, 30), dice.number(1, 9), dice.number(6, 10)
    numbers = [start + step * index for index in range(count)]
    written = dice.chance(0.4) and numbers[-1] < 200
    shown = [words(number) if written else str(number) for number in numbers]
    return (f"Count {'by ' + words(step) + 's' if step > 1 else 'on'} from {shown[0]}: {', '.join(shown[:-1])}. "
            f"What comes next? The next number is {shown[-1]}, because {shown[-2]} and {words(step)} make {shown[-1]}.")


def shopping_list(dice):
    items = dice.some(world.GOODS, dice.number(4, 8))
    lines, total = [f"Shopping list for {dice.pick(world.DAYS)}:"], 0
    priced = dice.chance(0.5)
    for name, price in items:
        count = dice.number(1, 12)
        total += count * price
        lines.append(f"- {count} {plural_goods(name, count)}" + (f" ({money(count * price)})" if priced else ""))
    if priced:
        lines.append(f"Total: {money(total)}")
    return "\n".join(lines)


RECIPES = [
    ("pancakes", ["two eggs", "a cup of flour", "a cup of milk", "a pinch of salt"],
     ["Beat the eggs with the milk.", "Stir in the flour and the salt.", "Let the batter rest for a while.",
      "Heat a little butter in a pan.", "Pour in the batter and turn the pancake when the edge is brown.",
      "Serve with honey or jam."]),
    ("vegetable soup", ["three carrots", "two potatoes", "an onion", "a litre of water", "salt"],
     ["Wash and peel the vegetables.", "Cut them into small pieces.", "Fry the onion until it is soft.",
      "Add the rest and the water.", "Cook it for half an hour.", "Taste it and add salt."]),
    ("apple cake", ["four apples", "a bag of flour", "a cup of sugar", "three eggs", "some butter"],
     ["Mix the butter with the sugar.", "Add the eggs one by one.", "Stir in the flour.", "Cut the apples into slices.",
      "Fill the dough into a tin and lay the apples on top.", "Bake it until it smells good."]),
    ("a cup of tea", ["water", "a spoon of tea leaves", "a little honey"],
     ["Bring the water to the boil.", "Warm the pot.", "Put the leaves in and pour the water over them.",
      "Wait for four minutes.", "Pour it through a sieve.", "Sweeten it with honey if you like."]),
    ("a paper boat", ["a sheet of paper"],
     ["Fold the sheet in half.", "Fold the two upper corners to the middle.", "Fold the strips at the bottom up.",
      "Open the hat and press it flat the other way.", "Fold up the lower corners, open it and press it flat again.",
      "Pull the two upper corners apart."]),
    ("a bird house", ["six boards", "twenty nails", "a hammer", "a saw", "a little paint"],
     ["Saw the boards to the right length.", "Drill a round hole into the front.", "Nail the sides to the back.",
      "Fix the floor and the front.", "Put the roof on so that the rain runs off.", "Hang it up before the spring."])]


def recipe(dice):
    name, needs, steps = dice.pick(RECIPES)
    who = world.person(dice)
    title = dice.pick([f"How to make {name}", f"{capital(name)}, as {who.name} makes {'them' if name == 'pancakes' else 'it'}",
                       f"Instructions: {name}"])
    lines = [title, "", f"You need {listed(needs)}.", ""]
    return "\n".join(lines + [f"{number}. {step}" for number, step in enumerate(steps, 1)])


def weather_diary(dice):
    start, month, first = dice.number(1, 24), dice.pick(world.MONTHS), dice.number(0, 6)
    lines = [f"Weather diary, {dice.pick(world.VILLAGES)}"]
    for day in range(dice.number(3, 5)):
        kind, sky, degrees = world.weather(dice, world.season_of(month))
        lines.append(f"{world.DAYS[(first + day) % 7]}, {start + day} {month}: {kind}, {degrees} degrees. {sky}.")
    return "\n".join(lines)


def animal_card(dice):
    name, kind, legs, home, food, habit = dice.pick(world.ANIMALS)
    if dice.chance(0.4):
        return (f"Name: {name}\nKind: {kind}\nLegs: {legs if legs else 'none'}\nHome: {home}\nFood: {food}\n"
                f"Remark: the {name} {habit}.")
    pronoun = dice.pick(["It", f"The {name}"])
    return (f"The {name} is {a(kind)}. {pronoun} has {words(legs) if legs else 'no'} legs and lives {home}. It eats {food}. "
            f"You can remember it well, because it {habit}.")


def comparison(dice):
    """Two animals side by side."""
    first, second = dice.some(world.ANIMALS, 2)
    (one, kind, legs, home, food, habit), (two, other_kind, other_legs, other_home, other_food, other_habit) = first, second
    lines = [f"What is the difference between {a(one)} and {a(two)}?",
             f"Both are {plural(kind)}." if kind == other_kind and kind != "fish" else
             f"{capital(a(one))} is {a(kind)}, but {a(two)} is {a(other_kind)}.",
             f"Both have {words(legs) if legs else 'no'} legs." if legs == other_legs else
             f"The {one} has {words(legs) if legs else 'no'} legs, while the {two} has "
             f"{words(other_legs) if other_legs else 'none'}.",
             f"The {one} lives {home}, the {two} {other_home}."]
    if food == other_food:
        lines.append(f"Both eat {food}.")
    else:
        lines.append(f"The {one} eats {food}; the {two} eats {other_food}.")
    lines.append(f"And the {one} {habit}, while the {two} {other_habit}.")
    return " ".join(lines)


def timetable(dice):
    who = world.person(dice)
    hour = dice.number(5, 8)
    lines = [f"{who.name}'s {dice.pick(world.DAYS)}"]
    for task in dice.some(["feed the hens", "water the garden", "practise the flute", "carry wood into the house",
                           "lessons", "clean the shoes", "read a chapter", "visit grandfather", "help in the kitchen",
                           "swim in the lake", "sort the stamps"], dice.number(5, 8)):
        lines.append(f"{hour:02d}:{dice.pick(['00', '15', '30', '45'])} {task}")
        hour += dice.number(1, 2)
    return "\n".join(lines)


def sorting(dice):
    """A list before and after it is put in order."""
    if dice.chance(0.5):
        names = dice.some(world.FEMALE + world.MALE, dice.number(4, 7))
        return (f"Put these names in the order of the alphabet: {', '.join(names)}.\nAnswer: "
                f"{', '.join(sorted(names))}. {sorted(names)[0]} comes first and {sorted(names)[-1]} comes last.")
    numbers = [dice.number(1, 200) for _ in range(dice.number(4, 8))]
    return (f"Put these numbers in order, the smallest first: {', '.join(map(str, numbers))}.\nAnswer: "
            f"{', '.join(map(str, sorted(numbers)))}. The smallest is {min(numbers)} and the largest is {max(numbers)}.")
