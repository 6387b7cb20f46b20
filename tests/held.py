"""What of PyAV is held in memory, for tests that nothing outlives its reading."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

KINDS = ('Container', 'Stream', 'CodecContext', 'Packet', 'Frame', 'Resampler', 'Reformatter', 'Graph')


def held() -> Counter[str]:
    """Kind of object -> how many there are."""
    names = (type(each).__name__ for each in gc.get_objects() if str(type(each).__module__).split('.')[0] == 'av')
    return Counter(name for name in names if name.endswith(KINDS) and 'SideData' not in name)


@contextmanager
def nothing_held() -> Iterator[None]:
    """Fails if an object of PyAV that the body makes outlives it.

    Frames may wait for the garbage collector, as PyAV's refer to themselves. Files, decoders and packets may not: until
    it runs, they hold memory that it does not see.
    """
    gc.collect()
    before = held()
    gc.disable()
    try:
        yield
        left = {kind: number for kind, number in (held() - before).items() if not kind.endswith('Frame')}
    finally:
        gc.enable()
    gc.collect()
    left |= held() - before
    assert not left, f'still in memory: {left}'
