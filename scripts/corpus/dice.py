"""Chance and small grammar for the corpus writers."""

import random

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen").split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


class Dice:
    """Seeded choices. Rests on random() alone, whose values Python keeps the same between versions."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def number(self, low, high):
        """A whole number from low to high, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def chance(self, probability):
        return self._random.random() < probability

    def pick(self, items):
        return items[self.number(0, len(items) - 1)]

    def some(self, items, count):
        """Different items in random order."""
        items = list(items)
        return [items.pop(self.number(0, len(items) - 1)) for _ in range(count)]

    def shuffled(self, items):
        return self.some(items, len(items))


class Person:
    """A name with its pronouns."""

    def __init__(self, dice, female, male):
        self.is_female = dice.chance(0.5)
        self.name = dice.pick(female if self.is_female else male)
        self.he, self.him, self.his = ("she", "her", "her") if self.is_female else ("he", "him", "his")
        self.He, self.His = self.he.capitalize(), self.his.capitalize()


def words(number):
    """17 -> "seventeen", 342 -> "three hundred and forty-two"."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f"-{ONES[number % 10]}" if number % 10 else "")
    rest = f" and {words(number % 100)}" if number % 100 else ""
    return f"{ONES[number // 100]} hundred{rest}"


def a(noun):
    """"apple" -> "an apple"."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def plural(noun, count=2):
    if count == 1:
        return noun
    if noun.endswith(("s", "sh", "ch", "x")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith("f"):
        return noun[:-1] + "ves"
    return noun + "s"


def listed(items, word="and"):
    """["a", "b", "c"] -> "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def capital(text):
    return text[0].upper() + text[1:]
