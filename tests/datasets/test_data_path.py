"""Who follows a clip from its row in a manifest to arrays opens few files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import mmav
from mmav.datasets import AVDataset

ROOT = Path(mmav.__file__).parent
MOST = 8


@pytest.mark.parametrize('test_mode', [False, True])
@pytest.mark.parametrize('name', ['clip', 'flashes'])
def test_from_a_row_to_arrays_code_runs_in_few_files(request, name, test_mode):
    path = request.getfixturevalue(name)
    folder = path.parent
    manifest = folder / f'path_of_{name}.csv'
    manifest.write_text(f'path,label\n{path.name},cat\n')
    mode = 'uniform' if test_mode else 'random'
    steps = [dict(type='LoadClip', num_frames=4, short_side=32, window=1.0, mode=mode)]
    dataset = AVDataset(manifest.name, steps, classes=['cat'], data_root=str(folder), test_mode=test_mode)
    files: set[str] = set()

    def note(frame, event, _):
        if event == 'call' and Path(frame.f_code.co_filename).is_relative_to(ROOT):
            files.add(Path(frame.f_code.co_filename).relative_to(ROOT).as_posix())

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        item = dataset[0]
    finally:
        sys.setprofile(before)
    assert item['video'][0].shape[0] == 4 and item['audio'][0].shape == (16000,)
    assert 'datasets/av_dataset.py' in files and 'datasets/media/reader.py' in files
    assert len(files) <= MOST, f'{len(files)} files, {MOST} at most: {", ".join(sorted(files))}'
