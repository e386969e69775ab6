"""Run as a program: publishes numbered events.

Arguments: the server's URL, the history's length, the publisher's name, a count, channels.
"""

from __future__ import annotations

import sys

from tests.events.shop import Shop


def publish_numbered(shop: Shop, name: str, count: int, channels: list[str]) -> None:
    """``{"by": name, "channel": …, "n": 0 … count - 1}`` to each channel."""
    for n in range(count):
        for channel in channels:
            shop.publish(channel, {"by": name, "channel": channel, "n": n})


if __name__ == "__main__":
    url, length, name, count, *channels = sys.argv[1:]
    publish_numbered(Shop(url, history_length=length), name, int(count), channels)
