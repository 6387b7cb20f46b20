"""What the files of a folder hold, measured by decoding each of them, and what is wrong with which."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmav.datasets.media.probe import Probe
from mmav.errors import MmavError, one_line
from mmav.journal import Journal
from mmav.preparation.checking import DEFECTS, SILENT_DB, TIME_LIMIT, UNUSABLE, ClipSpan, check_clips, defects_of
from mmav.preparation.folder.listing import Listing
from mmav.preparation.folder.sources import equal_files
from mmav.structures import MODALITIES

# A modality that fewer clips have is left out.
LEAST_SHARE = 0.2
# Defects of a track that concern only models that use it.
_OF_VIDEO, _OF_AUDIO = ('no_picture', 'frozen', 'short_picture'), ('no_sound', 'silent', 'short_sound')
# What is worth knowing of a file without being a defect.
REMARKS = dict(
    copy='the same file is there again',
    two_classes='the same file is in another class, too',
    vertical='the video is higher than wide; its middle is used',
    long='many times as long as others',
)
_LONG = 10.0


class Problem(NamedTuple):
    """Something about a file that its owner should know.

    Attributes:
        kind: Of ``DEFECTS`` or ``REMARKS``.
        path: The file, relative to the folder.
        detail: What exactly, in words; may be empty.
    """

    kind: str
    path: str
    detail: str = ''


@dataclass
class Survey:
    """The measures of a folder's files.

    Attributes:
        listing: The folder.
        probes: Path -> measures of the file.
        copies: Groups of files with the same content.
    """

    listing: Listing
    probes: dict[str, Probe]
    copies: list[list[str]]

    @property
    def readable(self) -> list[str]:
        """The files that can be read."""
        return [path for path, probe in self.probes.items() if probe.failure is None]

    def length(self, path: str, start: float | None = None, end: float | None = None) -> float:
        """Seconds of a file, or of a span of it."""
        whole = self.probes[path].duration
        return max(0.0, min(whole, whole if end is None else end) - (start or 0.0))

    def modalities(self, asked: Sequence[str] | None = None) -> tuple[tuple[str, ...], str]:
        """Chooses the modalities: those that enough files have, or those that are asked for.

        Returns:
            The modalities, and why.

        Raises:
            MmavError: No file can be read, all audio is silent, or no file has what is asked for.
        """
        readable = self.readable
        if not readable:
            path, probe = next(iter(self.probes.items()))
            raise MmavError(
                f"none of the {len(self.probes):,} media files in '{self.listing.root}' can be read, such as {path}: "
                f'{probe.error}'
            )
        have = dict(
            video=[path for path in readable if self.probes[path].has_video],
            audio=[path for path in readable if self.probes[path].has_audio],
        )
        for name in asked or ():
            if not have[name]:
                raise MmavError(f"--modalities {name}: no file in '{self.listing.root}' has {name}")
        audible = [path for path in have['audio'] if self.probes[path].peak_db >= SILENT_DB]
        if have['audio'] and not audible and 'audio' in (asked or MODALITIES):
            remedy = 'train on video alone with --modalities video' if have['video'] else 'record them again'
            raise MmavError(
                f"all {len(have['audio']):,} files in '{self.listing.root}' with audio are silent (below "
                f'{SILENT_DB:g} dB): {remedy}'
            )
        if asked:
            return tuple(name for name in MODALITIES if name in asked), 'as asked for with --modalities'
        used = tuple(name for name in MODALITIES if len(have[name]) >= LEAST_SHARE * len(readable))
        counts = ', '.join(f'{len(have[name]):,} of {len(readable):,} files have {name}' for name in MODALITIES)
        return used, counts

    def problems(self, modalities: Sequence[str] = MODALITIES) -> list[Problem]:
        """All that is worth knowing of single files, what keeps a file from being used first."""
        hidden = {
            *(() if 'video' in modalities else (*_OF_VIDEO, 'vertical')),
            *(() if 'audio' in modalities else _OF_AUDIO),
        }
        found = [
            Problem(kind, path, self._detail(kind, probe))
            for path, probe in self.probes.items()
            for kind in (*defects_of(probe), *self._remarks(path, probe))
            if kind not in hidden
        ]
        label = {clip.path: clip.label for clip in self.listing.clips}
        for group in self.copies:
            kind = 'copy' if len({label[path] for path in group}) == 1 else 'two_classes'
            found += [Problem(kind, path, f'as {group[0]}') for path in group[1:]]
        order = [*DEFECTS, *REMARKS]
        return sorted(found, key=lambda problem: (order.index(problem.kind), problem.path))

    def is_left_out(self, kind: str) -> bool:
        """Whether files with a defect or remark are used for nothing; copies count in a user's own lists only."""
        return kind in UNUSABLE or (kind == 'copy' and not self.listing.given)

    def _remarks(self, path: str, probe: Probe) -> list[str]:
        if probe.failure is not None:
            return []
        long = probe.duration > _LONG * self.typical_length
        return ['vertical'] * (probe.has_video and probe.height > probe.width) + ['long'] * long

    @property
    def typical_length(self) -> float:
        """Median length of the readable files in seconds."""
        return statistics.median(self.probes[path].duration for path in self.readable)

    @staticmethod
    def _detail(kind: str, probe: Probe) -> str:
        if kind in UNUSABLE:
            return one_line(Exception(probe.error or ''))
        if kind == 'long':
            return f'{probe.duration:,.0f} s'
        if kind == 'vertical':
            return f'{probe.width} x {probe.height}'
        return ''

    def ranges(self) -> list[tuple[str, str]]:
        """Least, usual and greatest measure of the readable files, in words: lengths, sizes, rates."""
        probes = [self.probes[path] for path in self.readable]
        seen, heard = [p for p in probes if p.has_video], [p for p in probes if p.has_audio]
        rows = [('length', _range([p.duration for p in probes], 's'))]
        if seen:
            rows.append(('frame rate', _range([p.fps for p in seen if p.fps], 'fps')))
            rows.append(('size', _common([f'{p.width} x {p.height}' for p in seen])))
        if heard:
            rows.append(('sample rate', _common([f'{p.sample_rate / 1000:g} kHz' for p in heard])))
            rows.append(('channels', _common([str(p.channels) for p in heard])))
        return rows


def look(listing: Listing, journal: Journal, *, jobs: int | None = None, time_limit: float = TIME_LIMIT) -> Survey:
    """Decodes every file of a folder, once; what the journal knows is not decoded again.

    Args:
        listing: The folder.
        journal: Measures of earlier runs; new ones are added.
        jobs: Processes; defaults to one per core.
        time_limit: Seconds for one file.
    """
    paths = list(dict.fromkeys(clip.path for clip in listing.clips))
    spans = [ClipSpan(path, None, None) for path in paths]
    known = check_clips(str(listing.root), spans, journal, jobs=jobs, time_limit=time_limit)
    # rounded, as the journal holds them: a second run must come to the same clips
    probes = {span.path: Probe(**known[span].to_dict()) for span in spans}
    readable = [path for path in paths if probes[path].failure is None]
    return Survey(listing, probes, equal_files(listing.root, readable))


def _range(values: Sequence[float], unit: str) -> str:
    if not values:
        return 'unknown'
    low, middle, high = (f'{value:.3g}' for value in (min(values), statistics.median(values), max(values)))
    return f'{middle} {unit}' if low == high else f'{low} to {high} {unit}, half below {middle}'


def _common(values: Sequence[str], most: int = 3) -> str:
    counts = Counter(values).most_common()
    if len(counts) == 1:
        return counts[0][0]
    shown = [f'{value} ({number:,})' for value, number in counts[:most]]
    return ', '.join(shown) + (f' and {len(counts) - most} others' if len(counts) > most else '')
