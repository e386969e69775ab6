"""READs: what to ask for when a value is looked up, and the Exchanges that ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from redis.exceptions import ResponseError

from flask_redis_kit.cache.envelope import Epoch, packed_tags
from flask_redis_kit.cache.log import STATES, Scores, epoch_of, scores_command, softened
from flask_redis_kit.cache.shards import FEATURE, Place, Shards
from flask_redis_kit.core.conversation import Prepared
from flask_redis_kit.core.exchange import Exchange, Outcome, Reply, number
from flask_redis_kit.core.script import Arg

if TYPE_CHECKING:
    from flask_redis_kit.cache.flight import Call

_MOST_TAGS = 10_000
_MOST_READS = 1000


class Asked(NamedTuple):
    """What a look asks the log for.

    ``tags``     of the value, as far as they are known.
    ``packed``   the tags as they stand in the header of a value that has exactly them.
    ``members``  the tags, and also their soft invalidations where those are known to matter.
    """

    tags: tuple[bytes, ...]
    packed: bytes
    members: tuple[bytes, ...]


def asked_for(tags: tuple[bytes, ...], *, softly: bool = False) -> Asked:
    """What is asked for to learn whether a value with these tags is valid."""
    members = (*tags, *map(softened, tags)) if softly else tags
    return Asked(tags, packed_tags(tags), members)


class Look(NamedTuple):
    """What a look at a value found.

    ``stored``  the envelope (of a leased look: its start), None if there is none.
    ``ttl_ms``  what is left of its time, as the server says.
    ``log``     the reply of the log: its state, then the scores of ``asked.members``.
    ``leased``  of a poll: whether somebody is computing it; of a lease: whether it is ours.
    """

    stored: bytes | None
    ttl_ms: int
    log: Sequence[Reply]
    asked: Asked
    leased: bool = False

    @property
    def epoch(self) -> Epoch | None:
        """The log's state then; None if there is no log."""
        return epoch_of(self.log[:STATES])

    @property
    def scores(self) -> Scores:
        """When the asked tags were invalidated last."""
        return dict(zip(self.asked.members, map(number, self.log[STATES:]), strict=True))


class Reading(Exchange[Look]):
    """A look at a value; a key of another type counts as a value that can't be read.

    The last three replies are those of the value, its time and the log; what comes before them is
    read by ``before``.
    """

    __slots__ = ("asked", "call_tags", "repeats")

    asked: Asked
    call_tags: tuple[bytes, ...]
    """The tags of the call that it was made for."""
    repeats: bool
    """Whether it was sent before: from the second time on its commands are packed already."""

    def outcome(self, replies: list[Reply]) -> Outcome[Look]:
        found = replies[-3]
        if (
            len(replies) == 3  # a plain READ, and nothing failed: as most often
            and type(found) is bytes
            and type(replies[1]) is int
            and type(replies[2]) is list
        ):
            return Outcome(Look(found, replies[1], replies[2], self.asked))
        if isinstance(found, ResponseError) and str(found).startswith("WRONGTYPE"):
            replies = [*replies]
            replies[-3] = b""
        return super().outcome(replies)


def read_commands(place: Place, asked: Asked) -> list[tuple[Arg, ...]]:
    """READ: the value, its remaining time, and the state of its tags, in this order.

    As the tags are read after the value, a value that is valid by them was so during the call.
    """
    return [
        ("GET", place.value),
        ("PTTL", place.value),
        scores_command(place.log, asked.members),
    ]


def read(place: Place, asked: Asked) -> Reading:
    """READ. One round trip of plain commands; it may be sent any number of times."""

    def parse(replies: list[Reply]) -> Look:
        return Look(replies[0], replies[1], replies[2], asked)

    reading = Reading(FEATURE, place.value, read_commands(place, asked), parse, read_only=True)
    reading.asked = asked
    return reading


class Readings:
    """The READs of one application. Remembers the latest ones, as many are asked again and again;
    and the tags that values have beyond those of their calls, so that one READ can ask for all.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._known: dict[str, Asked] = {}
        self._latest: dict[str, Reading] = {}

    def of(self, call: Call) -> Reading:
        """The READ of a call."""
        name = call.digest.text
        reading = self._latest.get(name)
        if reading is not None and reading.call_tags == call.tags:
            if not reading.repeats:
                reading.commands = [Prepared(*each) for each in reading.commands]  # type: ignore[misc]  # no script is among them
                reading.repeats = True
            return reading
        reading = read(self._shards.place(call.digest), self.asked(call))
        reading.call_tags = call.tags
        reading.repeats = False
        if len(self._latest) >= _MOST_READS:
            self._latest.clear()
        self._latest[name] = reading
        return reading

    def asked(self, call: Call) -> Asked:
        """What to ask for when the value of this call is looked at."""
        known = self._known.get(call.digest.text)
        if known is None or not set(call.tags) <= set(known.tags):
            return asked_for(call.tags)
        return known

    def learn(self, call: Call, tags: tuple[bytes, ...], *, softly: bool = False) -> None:
        """The value of this call was seen, or stored, with these tags.

        ``softly``: it is older than some soft invalidation, so those of its tags are of interest.
        """
        name = call.digest.text
        all_tags = tuple(dict.fromkeys((*call.tags, *tags)))
        if all_tags == call.tags and not softly:
            if self._known.pop(name, None) is not None:
                self._latest.pop(name, None)
            return
        if len(self._known) >= _MOST_TAGS:
            for oldest in list(self._known)[: _MOST_TAGS // 10]:  # a copy: others change it, too
                self._known.pop(oldest, None)
        self._known[name] = asked_for(all_tags, softly=softly)
        self._latest.pop(name, None)
