"""Live sources: cameras, microphones, network streams, pipes, and files played as if they were live."""

from mmav.datasets.media.live.buffer import Taken
from mmav.datasets.media.live.reader import LiveReader
from mmav.datasets.media.live.sources import LiveSource, list_live

__all__ = ['LiveReader', 'LiveSource', 'Taken', 'list_live']
