"""A corpus that needs no network and no licence: reviews, questions and scenes from a small grammar."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple
from zlib import crc32

from ..tasks import Task
from .rows import SPLITS, Place, Row, Unreadable

__all__ = ["Demo"]

Example = tuple[tuple[str, ...], float]


@dataclass(frozen=True)
class Demo:
    """Made-up rows of the built-in tasks that cannot be judged by their words alone.

    "Not bad" is praise, the clause that a "but" leaves standing gives the grade, whoever chases is not who is
    chased, and synonyms agree. `size` rows train each task; dev and test have an eighth as many, all labelled.
    No text of one split stands in another, whatever the size and the seed.

    >>> from hf_multitask.tasks import QQP
    >>> next(Demo(size=8).rows(QQP, "dev")).second
    'Tell me, can it be that the guest was served by the waiter every day?'
    """

    size: int = 8000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ValueError(f"Demo needs a size of 8 or more, so that dev and test have rows. Got {self.size}.")

    def splits(self, task: Task) -> tuple[str, ...]:
        return SPLITS if task.name in GRAMMARS else ()

    def rows(self, task: Task, split: str) -> Iterator[Row]:
        if task.name not in GRAMMARS:
            raise Unreadable(Place("Demo"), f"there is no '{task.name}' here, only {', '.join(GRAMMARS)}")
        write = GRAMMARS[task.name]
        # A text seeds the generator by its bytes, not by its hash: the same rows in every process.
        random = Random(f"{self.seed} {task.name} {split}")
        count = self.size if split == "train" else self.size // 8
        place = Place(f"Demo {task.name} {split}", unit="row")
        seen: set[tuple[str, ...]] = set()
        misses = 0
        while len(seen) < count:
            texts, label = write(random)
            if any(split_of(text) != split for text in texts) or texts in seen or len(set(texts)) < len(texts):
                misses += 1
                if misses > 1000:
                    raise Unreadable(place, f"the grammar has about {len(seen)} rows, not {count}: lower the size")
                continue
            misses = 0
            seen.add(texts)
            first, second = (*texts, None)[:2]
            yield Row(place._replace(number=len(seen)), f"{split}-{len(seen)}", first, second, label)


def split_of(text: str) -> str:
    """The one split in which `text` may stand: three fifths of all texts train."""
    return ("dev", "test", "train", "train", "train")[crc32(text.encode()) % 5]


def sentence(text: str) -> str:
    return text[0].upper() + text[1:]


ASPECTS = (
    *("acting", "plot", "music", "band", "story", "ending", "movie", "film", "dialogue"),
    *("food", "meal", "soup", "wine", "service", "staff", "room", "view", "suite", "terrace"),
)
ADJECTIVES = {
    "awful": ("awful", "terrible", "dreadful", "horrible"),
    "bad": ("bad", "dull", "poor", "weak"),
    "average": ("average", "ordinary", "passable"),
    "good": ("good", "nice", "pleasant", "charming"),
    "superb": ("wonderful", "superb", "brilliant", "perfect"),
}
PHRASES = (
    ("very {bad}", "{awful}", "anything but {good}"),
    ("{bad}", "not {good}", "far from {superb}"),
    ("{average}", "rather {average}"),
    ("{good}", "not {bad}", "far from {awful}"),
    ("very {good}", "{superb}", "anything but {bad}"),
)
TAILS = ("", "", "", " to me", " this time", " on the whole")
REVIEWS = (
    "{standing}.",
    "{other}, but {standing}.",
    "although {other}, {standing}.",
    "{standing}, although {other}.",
    "I was told that {other}, yet {standing}.",
)


def review(random: Random) -> Example:
    """One or two clauses with a grade each; the clause that the contrast leaves standing decides."""
    grade, another = random.sample(range(len(PHRASES)), 2)
    aspects = random.sample(ASPECTS, 2)
    standing, other = clause(random, aspects[0], grade), clause(random, aspects[1], another)
    return (sentence(random.choice(REVIEWS).format(standing=standing, other=other)),), grade


def clause(random: Random, aspect: str, grade: int) -> str:
    words = {kind: random.choice(adjectives) for kind, adjectives in ADJECTIVES.items()}
    phrase = random.choice(PHRASES[grade]).format(**words)
    return f"the {aspect} was {phrase}{random.choice(TAILS)}"


class Topic(NamedTuple):
    """Ways to ask about two things, and the pairs of things, in the order that is natural."""

    wordings: tuple[str, ...]
    cases: tuple[tuple[str, ...], ...]


DEEDS = Topic(
    (
        "did the {0} {2} the {1}{end}?",
        "was the {1} {3} by the {0}{end}?",
        "is it true that the {0} {3} the {1}{end}?",
        "is it true that the {1} was {3} by the {0}{end}?",
        "can it be that the {0} {3} the {1}{end}?",
        "can it be that the {1} was {3} by the {0}{end}?",
    ),
    (
        ("cat", "mouse", "chase", "chased"),
        ("doctor", "patient", "visit", "visited"),
        ("waiter", "guest", "serve", "served"),
        ("horse", "cart", "pull", "pulled"),
        ("judge", "thief", "punish", "punished"),
        ("farmer", "cow", "milk", "milked"),
        ("boss", "clerk", "hire", "hired"),
        ("nurse", "baby", "wash", "washed"),
    ),
)
ORDERS = Topic(
    (
        "should I {0} before I {1}{end}?",
        "should I {1} after I {0}{end}?",
        "must I {0} before I {1}{end}?",
        "must I {1} after I {0}{end}?",
        "is it best to {0} before I {1}{end}?",
        "is it best to {1} after I {0}{end}?",
    ),
    (
        ("stretch", "run"),
        ("knock", "enter"),
        ("cook", "eat"),
        ("pay", "leave"),
        ("study", "teach"),
        ("look", "cross"),
        ("ask", "borrow"),
        ("think", "speak"),
    ),
)
OPENERS = ("", "", "", "please, ", "well, ", "tell me, ")
ENDS = ("", "", "", " today", " every day", " in town")


def questions(random: Random) -> Example:
    """Two questions: one asked twice, or also the other way round, or about something else."""
    topic = random.choice((DEEDS, ORDERS))
    case, other = random.sample(topic.cases, 2)
    same = random.random() < 0.5
    turned = not same and random.random() < 0.65
    end = random.choice(ENDS)
    asked = case[1::-1] + case[2:] if turned else case if same else other
    texts = [question(random, topic, case, end), question(random, topic, asked, end)]
    random.shuffle(texts)
    return tuple(texts), int(same)


def question(random: Random, topic: Topic, case: tuple[str, ...], end: str) -> str:
    body = random.choice(topic.wordings).format(*case, end=end)
    return sentence(random.choice(OPENERS) + body)


PEOPLE = (
    *(("woman", "lady"), ("man", "gentleman"), ("child", "kid")),
    *(("doctor", "physician"), ("teacher", "tutor"), ("friend", "pal")),
)
ROLES = {
    "giver": PEOPLE,
    "taker": PEOPLE,
    "deed": (("hands", "gives"), ("tosses", "throws"), ("sends", "mails"), ("brings", "takes"), ("lends", "loans")),
    "thing": (
        *(("book", "novel"), ("picture", "photo"), ("coat", "jacket")),
        *(("cup", "mug"), ("gift", "present"), ("hat", "cap")),
    ),
    "place": (
        *(("in the forest", "in the woods"), ("at the beach", "on the shore"), ("in the shop", "at the store")),
        *(("on the street", "on the road"), ("in the garden", "in the yard")),
    ),
}
SCENES = (
    "a {giver} {deed} a {thing} to a {taker} {place}.",
    "{place}, a {giver} {deed} a {thing} to a {taker}.",
    "{place}, a {giver} {deed} a {taker} a {thing}.",
)


def scenes(random: Random) -> Example:
    """Two scenes of who gives what to whom, how and where; the label counts the roles that agree."""
    giver, taker, *strangers = random.sample(range(len(PEOPLE)), 4)
    first, second = {"giver": giver, "taker": taker}, dict(zip(("giver", "taker"), strangers, strict=True))
    for role in ("deed", "thing", "place"):
        first[role], second[role] = random.sample(range(len(ROLES[role])), 2)
    # A share drawn evenly makes every count equally likely.
    share = random.random()
    agreed = [role for role in ROLES if random.random() < share]
    second.update({role: first[role] for role in agreed})
    if "giver" not in agreed and "taker" not in agreed and random.random() < 0.6:
        second.update(giver=taker, taker=giver)
    spoken = {role: random.random() < 0.5 for role in ROLES}
    # What agrees is mostly said in other words, or counting common words would do.
    echoed = {role: word if random.random() < 0.3 else not word for role, word in spoken.items()}
    return (scene(random, first, spoken), scene(random, second, echoed)), float(len(agreed))


def scene(random: Random, parts: dict[str, int], words: dict[str, bool]) -> str:
    return sentence(random.choice(SCENES).format(**{role: ROLES[role][parts[role]][words[role]] for role in ROLES}))


def verdict(random: Random) -> Example:
    """A review that is not neutral, and whether it praises."""
    texts, grade = review(random)
    while grade == len(PHRASES) // 2:
        texts, grade = review(random)
    return texts, float(grade > len(PHRASES) // 2)


GRAMMARS = {"sst": review, "qqp": questions, "sts": scenes, "sick": scenes, "cfimdb": verdict}
