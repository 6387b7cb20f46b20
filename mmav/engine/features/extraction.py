"""Runs frozen encoders over the clips of a config and stores their tokens, shard by shard.

Each shard is written whole, so a run that was killed goes on with the first one that is missing, and several processes
share the shards without talking to each other: the last one to finish writes the index.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmav import __version__, parallel
from mmav.datasets.broken_clips import require_files
from mmav.datasets.collate import av_collate
from mmav.datasets.features.clip_views import ClipViews
from mmav.datasets.features.index import FeatureIndex, StoredModality, index_path, read_index
from mmav.datasets.features.writer import KIND, as_dtype, shard_name, shard_tensors, write_index, write_shard
from mmav.engine.features.encoders import Encoded, stored_grids
from mmav.engine.features.plan import Options, clips_of, digest_settings, first_difference, settings_of
from mmav.engine.features.report import in_bytes, shown
from mmav.errors import ConfigError, FeatureError, TooManyBrokenClips
from mmav.outputs import check_folder, names_of_kind
from mmav.structures import as_parts
from mmav.threads import sharing_cores

SHARD_BYTES = 128 * 2**20
SHARD_CLIPS = 256
# what is left free of a disk
SPARE = 1.02


class Extraction:
    """The features of one split of a config.

    Args:
        cfg: The config.
        model: Its model with frozen encoders, see :func:`mmav.engine.features.encoders.load_encoders`.
        folder: Where the features go.
        split: ``train``, ``val`` or ``test``.
        options: How they are extracted.
        weights: Modality -> checksum of its encoder.
        checkpoint: File of the weights, to be noted.
        rank: Number of this process, from 0.
        world: How many processes work.
        device: Where the encoders compute.
        show_progress: Whether to show a progress bar.

    Raises:
        MmavError: The data or an option is wrong, or the folder holds features of another run.
    """

    def __init__(
        self,
        cfg: Config,
        model: Any,
        folder: str | Path,
        *,
        split: str,
        options: Options,
        weights: dict[str, str],
        checkpoint: str | None = None,
        rank: int = 0,
        world: int = 1,
        device: str | torch.device = 'cpu',
        show_progress: bool = True,
    ) -> None:
        as_dtype(options.dtype)
        self.folder, self.split, self.options = Path(folder).expanduser(), split, options
        self.rank, self.world, self.device, self.show_progress = rank, world, torch.device(device), show_progress
        self.model = model.to(self.device)
        self.clips: ClipViews = clips_of(cfg, split, options)
        require_files(self.clips.dataset)
        self.keep = stored_grids(model, options.tokens)
        first = self._encode(av_collate([self.clips[0]]))
        # what AVClassifier reads; the dataset may have more
        self.stored = {
            name: StoredModality(tokens.shape[3], first.grids[name], tokens.shape[1], first.encoder_grids[name])
            for name, tokens in first.tokens.items()
        }
        stored = {name: [each.width, each.grid, each.views] for name, each in self.stored.items()}
        self.settings = settings_of(cfg, split, self.clips, options=options, weights=weights, stored=stored)
        self.digest = digest_settings(self.settings)
        self.shard_clips = max(1, min(SHARD_CLIPS, SHARD_BYTES // self.clip_bytes))
        self.weights, self.source = weights, checkpoint
        self.config = str(cfg.filename or '')
        loader = cfg[f'{split}_dataloader']
        self.batch_size = options.batch_size or loader.get('batch_size') or 1
        self.workers = (loader.get('num_workers') or 0) if options.workers is None else options.workers
        self._check_folder()

    @property
    def clip_bytes(self) -> int:
        """Bytes of the features of one clip."""
        numbers = sum(each.views * (1 + each.num_tokens) * each.width for each in self.stored.values())
        return numbers * torch.finfo(as_dtype(self.options.dtype)).bits // 8

    @property
    def num_shards(self) -> int:
        """How many shards there will be."""
        return -(-len(self.clips) // self.shard_clips)

    def describe(self) -> str:
        """What will be stored: its size, and that of the disk's free space."""
        parts = [
            f'{name} {each.views} x {1 + each.num_tokens} x {each.width}' + (f' {each.grid}' if each.num_tokens else '')
            for name, each in self.stored.items()
        ]
        total = len(self.clips) * self.clip_bytes
        return (
            f'{self.split}: {len(self.clips):,} clips of {", ".join(parts)} (views x tokens x width), '
            f'{self.options.dtype}: {in_bytes(total)} in {self.num_shards} shards; {in_bytes(self._free())} are free'
        )

    def run(self) -> FeatureIndex | None:
        """Extracts what is missing.

        Returns:
            The index, if all features are there now; None if other processes are still at work.

        Raises:
            MmavError: The disk is too small, a clip's features are not finite, or no clip can be read.
        """
        done = self._done()
        missing = [k for k in range(self.num_shards) if k not in done]
        needed = sum(len(self._rows(k)) for k in missing) * self.clip_bytes
        if needed * SPARE > self._free():
            raise FeatureError(
                f"'{self.folder}': the features need {in_bytes(needed)}, {in_bytes(self._free())} are free: give "
                'another disk, --dtype float16, or fewer tokens (--tokens cls, or token_grids of the neck)'
            )
        mine = [k for k in missing if k % self.world == self.rank]
        own = [k for k in range(self.num_shards) if k % self.world == self.rank]
        before = sum(len(self._rows(k)) for k in own if k in done)
        if before:
            print(f'{self.split}: {before:,} of {before + self._count(mine):,} clips are done already', flush=True)
        if self.rank == 0 and not index_path(self.folder).is_file():
            write_index(self.folder, self._index([]))
        with tqdm(
            desc=self.split,
            total=before + self._count(mine),
            initial=before,
            unit='clip',
            file=sys.stderr,
            disable=not self.show_progress,
        ) as bar:
            for number, shard in self._shards(mine, bar.update):
                self._write(number, shard)
        return self._finish()

    # Steps of a run

    def _check_folder(self) -> None:
        check_folder(self.folder, remedy='give a folder for the features with --out')
        if not index_path(self.folder).is_file():
            return
        there = read_index(self.folder, unfinished_ok=True).made_by.get('settings')
        found = first_difference(there, self.settings)
        if found is not None:
            name, old, new = found
            raise FeatureError(
                f"'{self.folder}' holds features of another run ({name or 'settings'} was {shown(old)}, is "
                f'{shown(new)}): give another folder with --out, or remove this one'
            )

    def _rows(self, shard: int) -> range:
        return range(shard * self.shard_clips, min(len(self.clips), (shard + 1) * self.shard_clips))

    def _count(self, shards: Sequence[int]) -> int:
        return sum(len(self._rows(k)) for k in shards)

    def _path(self, shard: int) -> Path:
        return self.folder / shard_name(shard)

    def _done(self) -> dict[int, dict[str, Any]]:
        """The shards that are there and whole -> what they say of their clips."""
        unchanged = names_of_kind(self.folder, KIND)
        done = {}
        for k in range(self.num_shards):
            path = self._path(k)
            if not path.is_file():
                continue
            if path.name not in unchanged:
                raise FeatureError(f"'{path}' was changed since it was written, or by another program: remove it")
            notes = _notes_of(path)
            if notes.get('settings') != self.digest or len(notes.get('clips', ())) != len(self._rows(k)):
                raise FeatureError(f"'{path}' is of another run: give another folder with --out, or remove this one")
            done[k] = notes
        return done

    def _shards(self, numbers: Sequence[int], advance: Callable[[int], Any]) -> Iterator[tuple[int, list[Encoded]]]:
        """Encodes the clips of shards."""
        if self.workers and (problem := parallel.worker_problem()) is not None:
            raise ConfigError(f'--workers {self.workers} need shared memory ({problem}): {parallel.NO_SHARED_MEMORY}')
        batches = [
            (k, list(rows[first : first + self.batch_size]))
            for k in numbers
            for rows in [self._rows(k)]
            for first in range(0, len(rows), self.batch_size)
        ]
        loader = DataLoader(
            self.clips, batch_sampler=[rows for _, rows in batches], num_workers=self.workers, collate_fn=av_collate
        )
        waiting: list[Encoded] = []
        with sharing_cores(self.workers):
            for place, ((shard, rows), batch) in enumerate(zip(batches, loader, strict=True), start=1):
                waiting.append(self._checked(self._encode(batch)))
                advance(len(rows))
                if place == len(batches) or batches[place][0] != shard:
                    yield shard, waiting
                    waiting = []

    @torch.inference_mode()
    def _encode(self, batch: dict[str, Any]) -> Encoded:
        half = {'none': None, 'bfloat16': torch.bfloat16, 'float16': torch.float16}[self.options.amp]
        with nullcontext() if half is None else torch.autocast(self.device.type, dtype=half):
            return Encoded(self.model, batch, self.keep)

    def _checked(self, encoded: Encoded) -> Encoded:
        for name, tokens in encoded.tokens.items():
            each = self.stored[name]
            found = (tokens.shape[1], tuple(encoded.grids[name]), tokens.shape[3])
            if found != (each.views, each.grid, each.width):
                raise FeatureError(
                    f'{name} of {encoded.samples[0].path} gives {found[0]} views and tokens {found[1]}, the first clip '
                    f'{each.views} and {each.grid}: clips need one size; give the pipeline a fixed length'
                )
        return encoded

    def _write(self, number: int, batches: Sequence[Encoded]) -> None:
        tokens = {name: torch.cat([each.tokens[name] for each in batches]) for name in self.stored}
        samples = [sample for each in batches for sample in each.samples]
        tensors = shard_tensors(tokens, self.options.dtype)
        self._require_finite(tensors, samples)
        masks = {name: torch.cat([each.masks[name] for each in batches]).tolist() for name in self.stored}
        clips = [
            dict(start=sample.start, end=sample.end, broken=sample.broken, absent=[m for m in masks if not masks[m][k]])
            for k, sample in enumerate(samples)
        ]
        write_shard(self._path(number), tensors, {KIND: json.dumps(dict(settings=self.digest, clips=clips))})

    def _require_finite(self, tensors: dict[str, Tensor], samples: Sequence[Any]) -> None:
        for name, value in tensors.items():
            finite = value.flatten(1).isfinite().all(dim=1)
            if not finite.all():
                path = samples[int(finite.logical_not().nonzero()[0])].path
                half = 'float16' in (self.options.dtype, self.options.amp)
                remedy = 'use float32' if half else 'are the weights sound?'
                raise FeatureError(f'the {name.split(".")[0]} features of {path} are not finite: {remedy}')

    def _finish(self) -> FeatureIndex | None:
        done = self._done()
        if len(done) < self.num_shards:
            return None
        index = self._index([clip for k in range(self.num_shards) for clip in done[k]['clips']])
        if len(index.broken) == len(self.clips):
            reason = next(iter(index.broken.values()))
            raise TooManyBrokenClips(f'none of the {len(self.clips)} clips can be read, the first for: {reason}')
        index.complete = True
        write_index(self.folder, index)
        return index

    def _index(self, notes: Sequence[dict[str, Any]]) -> FeatureIndex:
        """The index; of no clips as long as it is not complete."""
        dataset = self.clips.dataset
        rows = [dataset.manifest[dataset.get_data_info(k)['sample_idx']] for k in range(len(notes))]
        classes = as_parts(dataset.metainfo['classes'])
        return FeatureIndex(
            made_by=dict(
                settings=self.settings,
                config=self.config,
                checkpoint=self.source,
                manifest=dataset.ann_file,
                split=self.split,
                mmav=__version__,
            ),
            encoders=dict(self.weights),
            modalities=self.stored,
            dtype=self.options.dtype,
            classes={part: list(names) for part, names in classes.items()},
            labels={part: [row.label[part] for row in rows] for part in classes},
            paths=[row.path for row in rows],
            starts=[row.start for row in rows],
            ends=[row.end for row in rows],
            lines=[row.line for row in rows],
            spans=[(note['start'], note['end']) for note in notes],
            broken={
                # the dataset that reads the features adds the place again
                k: note['broken'].removesuffix(f' ({dataset.place_of(k)})')
                for k, note in enumerate(notes)
                if note['broken'] is not None
            },
            absent={m: [k for k, note in enumerate(notes) if m in note['absent']] for m in self.stored},
            shards=[
                dict(file=self._path(k).name, clips=len(self._rows(k)), bytes=self._path(k).stat().st_size)
                for k in range(self.num_shards if notes else 0)
            ],
        )

    def _free(self) -> int:
        folder = self.folder.absolute()
        while not folder.is_dir():
            folder = folder.parent
        return shutil.disk_usage(folder).free


def _notes_of(path: Path) -> dict[str, Any]:
    """What a shard says of its clips."""
    try:
        with safe_open(path, 'pt') as file:
            return json.loads((file.metadata() or {})[KIND])
    except Exception as error:
        raise FeatureError(f"'{path}' is damaged ({error}): remove it") from error
