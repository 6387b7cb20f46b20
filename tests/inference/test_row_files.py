import json

import pytest

from mmav.errors import ConfigError, OutputError
from mmav.inference import row_files
from mmav.inference.row_files import open_rows

KINDS = ('rows.jsonl', 'rows.parquet')


def row(k, error=None):
    said = [] if error else [dict(label='cat', index=k, score=0.5)]
    return dict(
        path=f'{k}.mp4', error=error, duration=2.0, present=['video'], missing=[], withheld=[], predictions=said,
        windows=[dict(start=0.0, end=2.0, predictions=said)], skipped=[], attempts=1,
    )  # fmt: skip


def contents(path):
    """All rows, read by others."""
    if path.suffix == '.jsonl':
        return [json.loads(line) for line in path.read_text().splitlines()]
    import pandas

    frame = pandas.read_parquet(path)
    return json.loads(frame.to_json(orient='records'))


@pytest.mark.parametrize('name', KINDS)
def test_rows_are_continued(tmp_path, name, monkeypatch):
    monkeypatch.setattr(row_files, 'PART_ROWS', 2)
    path = tmp_path / name
    with open_rows(path, dict(topk=5)) as file:
        file.add([row(0), row(1, 'broken'), row(2)])
    with open_rows(path, dict(topk=5)) as file:
        assert [each['path'] for each in file.rows()] == ['0.mp4', '1.mp4', '2.mp4']
        assert [each['error'] for each in file.rows()] == [None, 'broken', None]
        file.remove(lambda each: each['error'] is not None)
        file.add([row(1)])
    found = contents(path)
    assert [each['path'] for each in found] == ['0.mp4', '2.mp4', '1.mp4']
    assert found[0]['predictions'] == row(0)['predictions']
    assert found[1]['windows'][0]['predictions'] == row(2)['windows'][0]['predictions']


@pytest.mark.parametrize('name', KINDS)
def test_other_settings_and_files_of_others(tmp_path, name):
    path = tmp_path / name
    with open_rows(path, dict(topk=5, window=None)) as file:
        file.add([row(0)])
        with pytest.raises(OutputError, match='is being written by another run'):
            open_rows(path, dict(topk=5, window=None))
    with pytest.raises(OutputError, match=r'begun with other settings: topk was 5, now 3; give another name'):
        open_rows(path, dict(topk=3, window=None))
    assert len(contents(path)) == 1
    (tmp_path / f'other_{name}').write_text('mine')
    with pytest.raises(OutputError, match='was not begun by this command'):
        open_rows(tmp_path / f'other_{name}', {})
    assert (tmp_path / f'other_{name}').read_text() == 'mine'
    with pytest.raises(OutputError, match='cannot write'):
        open_rows(tmp_path / f'other_{name}' / name, {})


def test_a_torn_line_is_mended(tmp_path):
    path = tmp_path / 'rows.jsonl'
    with open_rows(path, {}) as file:
        file.add([row(0), row(1)])
    whole = path.read_bytes()
    for cut in (1, 30, len(whole) // 2 - 1):
        path.write_bytes(whole[:-cut])
        with open_rows(path, {}) as file:
            left = [each['path'] for each in file.rows()]
            file.add([row(k) for k in range(len(left), 2)])
        assert left == ['0.mp4'] and path.read_bytes() == whole
    path.write_bytes(b'{"path"')
    with open_rows(path, {}) as file:
        assert list(file.rows()) == []
    path.write_bytes(b'not ours\n' + whole)
    with open_rows(path, {}) as file, pytest.raises(OutputError, match='line 1: is no row of this command'):
        list(file.rows())


def test_a_torn_part_is_not_there(tmp_path):
    path = tmp_path / 'rows.parquet'
    with open_rows(path, {}) as file:
        file.add([row(0)])
    torn = path / '.part-000001.parquet.4242.tmp'
    torn.write_bytes(b'PAR1')
    with open_rows(path, {}) as file:
        assert [each['path'] for each in file.rows()] == ['0.mp4'] and not torn.exists()
    (path / 'part-000001.parquet').write_bytes(b'PAR1')
    with open_rows(path, {}) as file, pytest.raises(OutputError, match="part-000001.parquet' is damaged: remove it"):
        list(file.rows())


def test_settings_torn_before_the_first_row(tmp_path):
    with open_rows(tmp_path / 'a.jsonl', dict(topk=5)):
        pass
    note = tmp_path / 'a.jsonl.settings.json'
    note.write_text('{"to')
    with open_rows(tmp_path / 'a.jsonl', dict(topk=5)) as file:
        file.add([row(0)])
    assert json.loads(note.read_text()) == dict(topk=5)
    note.write_text('{"to')
    with pytest.raises(OutputError, match='is damaged: what .* depends on is unknown'):
        open_rows(tmp_path / 'a.jsonl', dict(topk=5))


def test_verbs_and_nouns_have_columns():
    names = row_files.schema_of(['verb', 'noun']).names
    assert {'verb', 'noun'} <= set(names) and 'verb' not in row_files.schema_of(['label']).names


def test_names_and_packages(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match=r'has to end in \.jsonl or \.parquet'):
        row_files.check_row_file('a.csv')
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow.parquet', None)
    with pytest.raises(ConfigError, match=r'Parquet needs pyarrow: pip install -r requirements/optional\.txt'):
        row_files.check_row_file(tmp_path / 'a.parquet')


def test_names_that_parquet_cannot_hold_are_refused_before_the_work(tmp_path):
    clips = ['a.mp4', 'b\udcff.mp4']
    with open_rows(tmp_path / 'a.parquet', {}) as file, pytest.raises(OutputError, match=r'udcff.mp4.: Parquet'):
        file.check_names(clips)
    with open_rows(tmp_path / 'a.jsonl', {}) as file:
        file.check_names(clips)
        file.add([dict(row(0), path=clips[1])])
        assert [each['path'] for each in file.rows()] == clips[1:]
