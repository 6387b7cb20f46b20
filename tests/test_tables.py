import pytest

from mmav.errors import OutputError
from mmav.tables import csv_bytes, markdown_table, milliseconds, size, text_table, write_csv


def test_columns_are_aligned():
    assert text_table([['a', 'bb'], ['ccc', 'd']]) == 'a    bb\nccc   d'
    assert text_table([['a', 'bb'], ['ccc', 'd']], left=2) == 'a    bb\nccc  d'


def test_markdown_with_padded_cells():
    assert markdown_table([['', 'bb'], ['ccc', 'd']], padded=True) == '|     | bb |\n|-----|----|\n| ccc | d  |'


def test_csv(tmp_path):
    rows = [['path', 'label'], ['é.mp4', 'dog, barking']]
    assert csv_bytes(rows) == 'path,label\né.mp4,"dog, barking"\n'.encode()
    write_csv(tmp_path / 'new' / 'a.csv', rows)
    assert (tmp_path / 'new' / 'a.csv').read_bytes() == csv_bytes(rows)
    (tmp_path / 'own.csv').write_text("a user's")
    with pytest.raises(OutputError, match='own.csv'):
        write_csv(tmp_path / 'own.csv', rows)


def test_sizes_and_times():
    assert size(16.8e9, 'GB', 1) == '16.8 GB' and size(2**21, 'MiB') == '2 MiB' and size(None, 'MiB') == '-'
    assert [milliseconds(seconds) for seconds in (0.25, 0.0996, 0.0005)] == ['250', '99.6', '0.5']
    assert [milliseconds(seconds, 3) for seconds in (0.25, 0.0996, 0.005, 0.0005)] == ['250', '99.6', '5.00', '0.500']
