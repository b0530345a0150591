"""The task ``core_grammar``: minimal pairs, two next words of which one breaks a rule of English."""

from __future__ import annotations

import random

from builders.capability import lexicon
from builders.capability.item import Item, distinct, generator, item

OPENINGS = (
    *("In the morning", "On Sundays", "After lunch", "Every summer", "In our town", "At night", "These days"),
    *("Before dinner", "In winter", "When it rains", "As a rule", "Once a week"),
)
AGO = ("Yesterday", "Last week", "Two days ago", "Last summer", "Many years ago", "Last Monday", "An hour ago")


def _noun(nouns: tuple[tuple[str, str], ...], draw: random.Random) -> tuple[str, int]:
    """Return a noun and its number: 0 for one, 1 for many."""
    number = draw.randrange(2)
    return draw.choice(nouns)[number], number


def _pair(kind: str, context: str, one_and_many: tuple[str, str], number: int, draw: random.Random) -> Item:
    return item(kind, context, one_and_many[number], [one_and_many[1 - number]], draw)


def agreement(draw: random.Random) -> Item:
    """Return a subject directly before its verb."""
    noun, number = _noun(lexicon.PEOPLE, draw)
    verb = draw.choice(lexicon.DOINGS)
    forms = draw.choice([("is", "are"), ("was", "were"), ("has", "have"), (verb.third, verb.base)])
    return _pair("agreement", f"{draw.choice(OPENINGS)}, the {noun}", forms, number, draw)


def distant_agreement(draw: random.Random) -> Item:
    """Return a subject parted from its verb by a noun of the other number."""
    noun, number = _noun(lexicon.THINGS, draw)
    between = draw.choice([pair for pair in lexicon.THINGS if noun not in pair])[1 - number]
    forms = draw.choice([("is", "are"), ("was", "were"), ("has", "have")])
    text = f"The {noun} {draw.choice(lexicon.PREPOSITIONS)} the {between}"
    return _pair("distant agreement", text, forms, number, draw)


def determiner(draw: random.Random) -> Item:
    """Return a noun that must agree with this, these, that, those."""
    noun = draw.choice(lexicon.THINGS)
    number = draw.randrange(2)
    word = draw.choice([("this", "that"), ("these", "those")][number])
    who, verb = draw.choice(lexicon.MEN + lexicon.WOMEN), draw.choice(["bought", "saw", "liked", "found", "sold"])
    return _pair("determiner", f"{who} {verb} {word} {draw.choice(lexicon.ADJECTIVES)}", noun, number, draw)


def reflexive_gender(draw: random.Random) -> Item:
    """Return himself or herself after a name."""
    number = draw.randrange(2)
    name = draw.choice([lexicon.MEN, lexicon.WOMEN][number])
    verb = draw.choice(["looked at", "hurt", "was talking to", "blamed", "did not recognize", "washed", "was proud of"])
    when = draw.choice(AGO)
    return _pair("reflexive gender", f"{when}, {name} {verb}", ("himself", "herself"), number, draw)


def reflexive_number(draw: random.Random) -> Item:
    """Return themselves or himself, herself after a noun."""
    pair, alone = draw.choice(lexicon.OF_ONE_GENDER)
    number = draw.randrange(2)
    verb = draw.choice(["looked at", "hurt", "talked to", "blamed", "washed", "laughed at", "introduced"])
    text = f"{draw.choice(AGO)}, the {pair[number]} {verb}"
    return _pair("reflexive number", text, (alone, "themselves"), number, draw)


def participle(draw: random.Random) -> Item:
    """Return a participle after have, where the past tense is another word."""
    verb, (noun, number) = draw.choice(lexicon.STRONG), _noun(lexicon.PEOPLE, draw)
    adverb = draw.choice([" already", " never", " just", " often", ""])
    return item("participle", f"The {noun} {('has', 'have')[number]}{adverb}", verb.participle, [verb.past], draw)


def after_modal(draw: random.Random) -> Item:
    """Return the base form after a modal verb or to."""
    verb, name = draw.choice(lexicon.DOINGS), draw.choice(lexicon.MEN + lexicon.WOMEN)
    modal = draw.choice(["can", "must", "will", "should", "wants to", "has to", "would like to", "did not", "might"])
    return item("after a modal", f"{draw.choice(OPENINGS)} {name} {modal}", verb.base, [verb.third], draw)


def gerund(draw: random.Random) -> Item:
    """Return the -ing form after verbs that ask for it."""
    verb, name = draw.choice(lexicon.DOINGS), draw.choice(lexicon.MEN + lexicon.WOMEN)
    before = draw.choice(["enjoys", "is good at", "has finished", "is tired of", "was busy", "kept on", "is afraid of"])
    return item("gerund", f"{name} {before}", verb.gerund, [verb.base], draw)


def article(draw: random.Random) -> Item:
    """Return a noun that begins with a vowel after an, with a consonant after a."""
    number = draw.randrange(2)
    nouns = (draw.choice(lexicon.AN), draw.choice(lexicon.A))
    name, verb = draw.choice(lexicon.MEN + lexicon.WOMEN), draw.choice(["saw", "drew", "talked about", "remembered"])
    return _pair("article", f"{draw.choice(AGO)} {name} {verb} {('an', 'a')[number]}", nouns, number, draw)


def case(draw: random.Random) -> Item:
    """Return me, him, her, us, them where the subject's form would be wrong."""
    right, wrong = draw.choice([("me", "I"), ("him", "he"), ("us", "we"), ("them", "they")])
    noun = draw.choice(lexicon.PEOPLE)[draw.randrange(2)]
    verb = draw.choice(["invited", "wrote to", "waited for", "helped", "went home with", "recognized", "asked"])
    return item("case", f"The {noun} {verb}", right, [wrong], draw)


def quantity(draw: random.Random) -> Item:
    """Return a noun after much or little, many or few."""
    number = draw.randrange(2)
    nouns = (draw.choice(lexicon.MASS), draw.choice(lexicon.PLURALS))
    word = draw.choice([("too much", "so much", "a little"), ("too many", "so many", "a few")][number])
    who = draw.choice(lexicon.PEOPLE)[1]
    verb = draw.choice(["saw", "had", "needed", "asked for", "found", "brought", "got"])
    return _pair("quantity", f"The {who} {verb} {word}", nouns, number, draw)


def tense(draw: random.Random) -> Item:
    """Return the past tense after a time that is gone."""
    verb = draw.choice([verb for verb in lexicon.DOINGS if verb.past != verb.base])
    who = draw.choice([f"the {one}" for one, _ in lexicon.PEOPLE] + list(lexicon.MEN + lexicon.WOMEN))
    return item("tense", f"{draw.choice(AGO)} {who}", verb.past, [verb.third], draw)


KINDS = (
    *(agreement, distant_agreement, determiner, reflexive_gender, reflexive_number, participle),
    *(after_modal, gerund, article, case, quantity, tense),
)
OF_EACH = 36


def collocations() -> list[Item]:
    """Return the written sentences that ask for one preposition."""
    draw = generator("grammar", "collocations")
    return [item("preposition", text, right, [wrong], draw) for text, right, wrong in lexicon.COLLOCATIONS]


def grammar() -> list[Item]:
    """Return the items, kind by kind."""
    drawn = (distinct(kind, OF_EACH, generator("grammar", kind.__name__)) for kind in KINDS)
    return [one for kind in drawn for one in kind] + collocations()
