from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import lists
from benchmarks.lists import KINDS, NOUNS, VERBS, list_text, measure_list, write_list
from mmav.datasets import AVDataset, read_manifest
from tests.toys import run_tool


@pytest.mark.parametrize('kind', KINDS)
def test_generated_lists_are_manifests(tmp_path, kind):
    options = write_list(tmp_path / 'm.csv', 3000, kind, progress=False)
    manifest = read_manifest(str(tmp_path / 'm.csv'), options['classes'], multi_label=options['multi_label'])
    rows = [manifest[k] for k in range(len(manifest))]
    assert len(rows) == 3000 and len({row.path for row in rows}) > (600 if kind == 'verb-noun' else 2990)
    if kind == 'several':
        assert 2 < np.mean([len(row.label['label']) for row in rows]) < 3
    parts = dict(verb=VERBS, noun=NOUNS) if kind == 'verb-noun' else dict(label=527)
    assert AVDataset(str(tmp_path / 'm.csv'), [], **options)._sizes == parts
    assert (rows[0].start is None) == (kind == 'one')


def test_a_list_is_measured_with_workers(tmp_path):
    found = measure_list(tmp_path, rows=600, workers=2, batches=20, batch_size=16, broken=0.05, progress=False)
    assert found['clips'] == 320 and set(found['seconds']) == {'dataset', 'sampler', 'first batch', 'all'}
    assert found['memory_bytes']['at_end']['workers'] > 0
    assert '600 clips, labels: several' in list_text(found) and 'more than bare' in list_text(found)
    unknown = dict(main=None, workers=0)
    found['memory_bytes'] = dict.fromkeys(found['memory_bytes'], unknown)
    assert 'memory is not known on this system' in list_text(found)


def test_the_tool_says_what_it_cannot_measure(tmp_path, monkeypatch, capsys):
    assert run_tool('analysis_tools/benchmark_list.py', '--rows', 0) == 2
    assert run_tool('analysis_tools/benchmark_list.py', '--workers', -1) == 2
    assert run_tool('analysis_tools/benchmark_list.py', '--broken', 1) == 2
    assert run_tool('analysis_tools/benchmark_list.py', '--sampler', 'ShufledSampler', '--rows', 10) == 2
    assert 'ShufledSampler' in capsys.readouterr().err
    out = tmp_path / 'list.json'
    options = ['--rows', 50, '--workers', 0, '--batch-size', 8, '--sampler', 'ShuffledSampler', '--json', out]
    assert not run_tool('analysis_tools/benchmark_list.py', *options)
    told = json.loads(out.read_text())
    assert told['rows'] == told['clips'] == 50 and told['sampler'] == dict(type='ShuffledSampler')


def test_broken_clips_are_spread():
    stub = lists.Stub(0.05)

    def reads(row):
        try:
            return stub(dict(sample_idx=row, path='a.mp4', label=dict(label=(1, 2)))).tolist() == [row, 2]
        except lists.MediaError:
            return None

    found = [reads(row) for row in range(2000)]
    assert 60 < found.count(None) < 140 and found.count(False) == 0
