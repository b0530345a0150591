"""The words that grammar items are made of."""

from __future__ import annotations

from dataclasses import dataclass

from builders.capability.item import words


@dataclass(frozen=True, slots=True)
class Verb:
    """The forms of an irregular or regular verb, and something that may follow it."""

    base: str
    third: str
    past: str
    participle: str
    gerund: str


def _verbs(text: str) -> tuple[Verb, ...]:
    return tuple(Verb(*line.split()) for line in text.strip().splitlines())


def _nouns(text: str) -> tuple[tuple[str, str], ...]:
    """Return pairs of one and many."""
    return tuple((one, many) for one, _, many in (pair.partition("/") for pair in text.split()))


PEOPLE = _nouns(
    "teacher/teachers doctor/doctors farmer/farmers boy/boys girl/girls child/children man/men woman/women "
    "student/students driver/drivers singer/singers actor/actors nurse/nurses writer/writers baker/bakers "
    "neighbor/neighbors friend/friends worker/workers soldier/soldiers lawyer/lawyers guest/guests player/players "
    "brother/brothers sister/sisters painter/painters pilot/pilots"
)
THINGS = _nouns(
    "book/books chair/chairs table/tables house/houses window/windows picture/pictures key/keys box/boxes cup/cups "
    "letter/letters car/cars tree/trees flower/flowers shoe/shoes bag/bags door/doors lamp/lamps bottle/bottles "
    "knife/knives shirt/shirts ship/ships road/roads bridge/bridges clock/clocks phone/phones plate/plates "
    "toy/toys ticket/tickets song/songs story/stories"
)
OF_ONE_GENDER = tuple(
    (pair, alone)
    for alone, ones in (("himself", ("boy", "man", "brother", "actor")), ("herself", ("girl", "woman", "sister")))
    for pair in PEOPLE
    if pair[0] in ones
)
MEN = words("John Peter Paul Mark Robert William Tom Michael Simon Adam Brian Kevin Eric Frank Tim Edward")
WOMEN = words("Mary Anna Susan Linda Sarah Emma Lucy Alice Julia Laura Helen Nancy Karen Jane Kate Emily")
ADJECTIVES = words("old new big small red green heavy cheap clean broken strange lovely expensive wooden")
PREPOSITIONS = ("near", "behind", "under", "beside", "next to", "in front of")

# base third past participle gerund; past and participle differ
STRONG = _verbs("""
eat eats ate eaten eating
write writes wrote written writing
see sees saw seen seeing
take takes took taken taking
give gives gave given giving
break breaks broke broken breaking
drive drives drove driven driving
choose chooses chose chosen choosing
steal steals stole stolen stealing
speak speaks spoke spoken speaking
forget forgets forgot forgotten forgetting
drink drinks drank drunk drinking
sing sings sang sung singing
begin begins began begun beginning
swim swims swam swum swimming
know knows knew known knowing
grow grows grew grown growing
throw throws threw thrown throwing
draw draws drew drawn drawing
wear wears wore worn wearing
tear tears tore torn tearing
hide hides hid hidden hiding
ride rides rode ridden riding
do does did done doing
go goes went gone going
fall falls fell fallen falling
fly flies flew flown flying
shake shakes shook shaken shaking
freeze freezes froze frozen freezing
ring rings rang rung ringing
""")
# what people do, without an object
DOINGS = _verbs("""
sing sings sang sung singing
dance dances danced danced dancing
swim swims swam swum swimming
walk walks walked walked walking
work works worked worked working
cook cooks cooked cooked cooking
read reads read read reading
write writes wrote written writing
sleep sleeps slept slept sleeping
run runs ran run running
play plays played played playing
laugh laughs laughed laughed laughing
cry cries cried cried crying
talk talks talked talked talking
travel travels traveled traveled traveling
smoke smokes smoked smoked smoking
paint paints painted painted painting
drive drives drove driven driving
ride rides rode ridden riding
fly flies flew flown flying
shout shouts shouted shouted shouting
listen listens listened listened listening
study studies studied studied studying
wait waits waited waited waiting
""")
AN = words(
    "apple egg orange umbrella owl elephant island onion engine angel uncle office envelope eagle ant oven ocean "
    "airplane artist actor accident idea arrow ax"
)
A = words(
    "banana spoon pear lamp fox horse river carrot motor king brother school letter hawk bee stove lake car painter "
    "singer mistake plan stone knife"
)
MASS = words(
    "water bread money music rain sugar rice milk sand furniture snow paper time salt butter traffic advice luck "
    "homework air"
)
PLURALS = words(
    "chairs books people children houses dogs cars trees coins flowers friends letters ideas bottles questions eggs "
    "windows songs cups keys"
)
# sentence, the preposition that belongs there, one that does not
COLLOCATIONS = (
    ("She has always been afraid", "of", "at"),
    ("They are very proud", "of", "on"),
    ("He is really good", "at", "of"),
    ("My brother is interested", "in", "at"),
    ("The price depends", "on", "of"),
    ("I completely agree", "with", "of"),
    ("We are looking forward", "to", "at"),
    ("The boy apologized", "for", "of"),
    ("She is married", "to", "of"),
    ("This word belongs", "to", "at"),
    ("He was accused", "of", "to"),
    ("The room was full", "of", "at"),
    ("I am tired", "of", "on"),
    ("They laughed", "at", "of"),
    ("Please listen", "to", "at"),
    ("The book consists", "of", "at"),
    ("She insisted", "on", "of"),
    ("He finally succeeded", "in", "at"),
    ("We arrived", "at", "of"),
    ("Everyone was waiting", "for", "of"),
    ("The child is capable", "of", "to"),
    ("They concentrated", "on", "at"),
    ("She reminded me", "of", "at"),
    ("The team is responsible", "for", "at"),
    ("He is similar", "to", "of"),
    ("We took care", "of", "at"),
    ("They are famous", "for", "to"),
    ("She was born", "in", "of"),
    ("He suffers", "from", "of"),
    ("I was surprised", "by", "to"),
    ("They prevented him", "from", "of"),
    ("The house is made", "of", "at"),
    ("He is allergic", "to", "of"),
    ("She is worried", "about", "at"),
    ("We have run out", "of", "at"),
    ("He is addicted", "to", "of"),
)
