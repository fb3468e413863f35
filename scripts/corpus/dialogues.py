"""Dialogues: buying, asking the way, making a plan."""

from . import world
from .dice import a, capital, plural, words


def money(pence):
    """150 -> "1.50", as it is written on a bill."""
    return f"{pence // 100}.{pence % 100:02d}"


def plural_goods(name, count):
    """"loaf of bread" -> "loaves of bread"."""
    head, _, tail = name.partition(" of ")
    return plural(head, count) + (f" of {tail}" if tail else "")


def shop(dice):
    """A purchase whose sum and change are right."""
    customer, seller = world.two_people(dice)
    total, lines = 0, [f"{seller.name}: {dice.pick(['Good morning!', 'Hello!', 'Good afternoon!'])} "
                       f"{dice.pick(['What can I do for you?', 'What would you like?', 'Can I help you?'])}"]
    bought = dice.some(world.GOODS, dice.number(1, 3))
    for turn, (name, price) in enumerate(bought):
        count = dice.number(1, 6)
        total += count * price
        wish = plural_goods(name, count) if count > 1 else name
        ask = f"{words(count)} {wish}" if count > 1 else a(wish)
        lines.append(f"{customer.name}: " + dice.pick([
            f"I would like {ask}, please.", f"{capital(ask)}, please.", f"Do you have {ask}?"] if turn == 0 else [
            f"And {ask}.", f"I also need {ask}.", f"Then {ask}, please."]))
        if count > 1:
            lines.append(f"{seller.name}: {words(count).capitalize()} at {money(price)} each, that is "
                         f"{money(count * price)}.")
        else:
            lines.append(f"{seller.name}: That is {money(price)}.")
    if len(bought) > 1:
        lines.append(f"{seller.name}: Together it is {money(total)}.")
    paid = next(note for note in (100, 200, 500, 1000, 2000, 5000) if note > total)
    lines += [f"{customer.name}: Here is {money(paid)}.",
              f"{seller.name}: And {money(paid - total)} back. " + dice.pick(["Thank you!", "Have a nice day!",
                                                                           "See you soon!"])]
    return "\n".join(lines)


def the_way(dice):
    asker, local = world.two_people(dice)
    goal, *landmarks = dice.some(world.PLACES, 4)
    turns = [dice.pick([f"Go straight on until you come to {landmark}.", f"Turn left at {landmark}.",
                        f"Turn right behind {landmark}.", f"Walk past {landmark} and keep to the path."])
             for landmark in landmarks[:dice.number(2, 3)]]
    minutes = dice.number(2, 12) * 5
    return "\n".join([
        f"{asker.name}: Excuse me, how do I get to {goal}?",
        f"{local.name}: {' '.join(turns)} Then you will see {goal} in front of you.",
        f"{asker.name}: {dice.pick(['Is it far?', 'How long does it take?', 'Can I walk there?'])}",
        f"{local.name}: About {words(minutes)} minutes on foot, {dice.pick(['if you do not stop', 'perhaps less'])}.",
        f"{asker.name}: {turns[0]} {'And then?' if len(turns) > 1 else 'I see.'}",
        f"{local.name}: {turns[1]} You cannot miss it.",
        f"{asker.name}: {dice.pick(['Thank you very much!', 'Thanks, that is kind of you.'])}"])


def plan(dice):
    """Two people agree on what to do and who brings what."""
    first, second = world.two_people(dice)
    day, place = dice.pick(world.DAYS), dice.pick(world.PLACES)
    kind = dice.pick(["rainy", "windy", "foggy", "cold", "hot"])
    idea = dice.pick(["have a picnic", "fly the kite", "draw the old houses", "look for mushrooms", "repair the boat",
                      "practise the song", "build a bird house", "watch the stars"])
    things = dice.some(["bread and cheese", "a blanket", "the rope", "a lantern", "warm socks", "the hammer", "apples",
                        "a bottle of water", "paper and pencils", "my little brother"], 3)
    hour = dice.number(2, 9)
    return "\n".join([
        f"\"What shall we do on {day}?\" asked {first.name}.",
        f"\"We could {idea} at {place},\" said {second.name}. \"If it is not too {kind}.\"",
        f"\"{dice.pick(['Good idea', 'I would like that', 'Why not'])},\" said {first.name}. \"I can bring {things[0]}.\"",
        f"\"Then I will bring {things[1]} and {things[2]},\" said {second.name}. \"When do we meet?\"",
        f"\"At {words(hour)}, in front of {dice.pick(world.PLACES)}.\"",
        dice.pick([f"{second.name} wrote it down so as not to forget it: {day}, {words(hour)} o'clock.",
                   f"And so it was agreed. {day} could not come soon enough.",
                   f"On {day} it was {kind} after all, but they went anyway, and it was a good day.",
                   f"But on {day} {first.name} had a cold, and they put it off by a week."])])


def riddle(dice):
    name, kind, legs, home, food, habit = dice.pick(world.ANIMALS)
    clues = dice.some([f"I have {words(legs) if legs else 'no'} legs.", f"I live {home}.", f"I eat {food}.",
                       f"My kind {habit}.", f"I am {a(kind)}."], dice.number(3, 5))
    first, second = world.two_people(dice)
    wrong = dice.pick([other[0] for other in world.ANIMALS if other[0] != name])
    return "\n".join([f"{first.name}: I have a riddle for you. {' '.join(clues)} What am I?",
                      f"{second.name}: Are you {a(wrong)}?", f"{first.name}: No. Think again.",
                      f"{second.name}: Then you must be {a(name)}.", f"{first.name}: Right!"])
