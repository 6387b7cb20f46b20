"""Which of a file's tracks is read: the one that a player would choose of those that hold something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import av

from mmav.errors import MediaError

from .auxiliary import auxiliary_tracks, learn_parameters
from .limits import Limits
from .opening import open_container

WORDS = {'video': 'picture', 'audio': 'sound'}
# So many packets of other tracks may come before the first of a track: more than any interleaving needs.
LOOK = 4096


def choose_track(
    container: av.container.InputContainer,
    path: str,
    kind: Literal['video', 'audio'],
    limits: Limits,
    *,
    related: Any = None,
) -> Any:
    """The track that a player would choose.

    Cover art, thumbnails and what belongs to another picture are no picture track. Of several tracks those count that
    hold packets and have a decoder.

    Args:
        container: The open file; where it stands is left as it is.
        path: The file.
        kind: What is wanted.
        limits: What reading may cost.
        related: A track; of several programs in one file the other one of its program is chosen.

    Returns:
        PyAV's stream; None where there is none.

    Raises:
        MediaError: There are such tracks, but no decoder for any.
    """
    best = container.streams.best(kind, related=related)
    others = auxiliary_tracks(path, container)
    tracks = [stream for stream in container.streams if stream.type == kind and stream.index not in others]
    # What FFmpeg would choose first: it goes by dispositions, then by what it saw of each track.
    tracks.sort(key=lambda stream: best is None or stream.index != best.index)
    if not tracks:
        return None
    decodable = [stream for stream in tracks if stream.codec_context is not None]
    if not decodable:
        raise MediaError(path, f'no decoder for its {WORDS[kind]} track')
    chosen: Any = decodable[0] if len(decodable) == 1 else _first_with_packets(path, decodable, limits)
    if kind == 'audio' and not chosen.codec_context.sample_rate:
        learn_parameters(container, chosen)
    return chosen


def _first_with_packets(path: str, tracks: Sequence[Any], limits: Limits) -> Any:
    """The first track that holds a packet; the first of all where none does."""
    found: set[int] = set()
    with open_container(path, limits=limits) as other:
        packets: Any = other.demux([other.streams[stream.index] for stream in tracks])
        try:
            for seen, packet in enumerate(packets):
                if packet.size:
                    found.add(packet.stream_index)
                if tracks[0].index in found or seen > LOOK:
                    break
        except (av.FFmpegError, IndexError):
            # What is damaged is met again, and passed over, when the file is read.
            pass
        finally:
            packets.close()
    return next((stream for stream in tracks if stream.index in found), tracks[0])
