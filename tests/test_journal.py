"""A killed run can be continued."""

import json

import pytest

from mmav.errors import MmavError
from mmav.journal import Journal, read_journal


def test_a_journal_goes_on_where_it_was(tmp_path):
    path = tmp_path / 'j.jsonl'
    with Journal(path, dict(size=1)) as journal:
        assert journal.entries == []
        journal.add(dict(path='a'))
        journal.add(dict(path='b'))
    path.write_text(path.read_text()[:-4])  # killed while writing
    with Journal(path, dict(size=1)) as journal:
        assert journal.entries == [dict(path='a')]
        journal.add(dict(path='c'))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [dict(settings=dict(size=1)), dict(path='a'), dict(path='c')]


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(MmavError, match=r"cannot write '.*/file/j.jsonl': its folder is a file; give another folder"):
        Journal(tmp_path / 'file' / 'j.jsonl', dict())


def test_a_journal_of_other_settings_starts_anew(tmp_path):
    with Journal(tmp_path / 'j.jsonl', dict(size=1)) as journal:
        journal.add(dict(path='a'))
    with Journal(tmp_path / 'j.jsonl', dict(size=2)) as journal:
        assert journal.entries == []


def test_a_file_in_the_place_of_a_journal_is_kept(tmp_path):
    (tmp_path / 'j.jsonl').write_text('mine')
    with pytest.raises(MmavError, match=r"j\.jsonl' is not the journal of an earlier run"):
        Journal(tmp_path / 'j.jsonl', {})
    assert (tmp_path / 'j.jsonl').read_text() == 'mine'


def test_a_journal_is_read_without_its_run(tmp_path):
    assert read_journal(tmp_path / 'j.jsonl') == (None, [])
    with Journal(tmp_path / 'j.jsonl', dict(size=(1, 2))) as journal:
        journal.add(dict(path='a'))
    assert read_journal(tmp_path / 'j.jsonl') == (dict(size=[1, 2]), [dict(path='a')])
    (tmp_path / 'j.jsonl').write_text('[1]\n')
    assert read_journal(tmp_path / 'j.jsonl') == (None, [])
