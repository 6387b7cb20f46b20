from __future__ import annotations

import pytest

from mmav.datasets.manifest_table import read_table
from mmav.errors import ManifestError


def test_rows_are_kept_as_they_are_written(tmp_path):
    path = tmp_path / 'list.csv'
    path.write_text('id,path,start,end\n7, a.mp4 ,1,2.5\n\n8,"b,c.mp4",,\n')
    table = read_table(str(path), others=['id'])
    assert table.header == ['id', 'path', 'start', 'end']
    assert table.rows == [(2, ['7', ' a.mp4 ', '1', '2.5']), (4, ['8', 'b,c.mp4', '', ''])]
    assert [table.clip(*row) for row in table.rows] == ['a.mp4', 'b,c.mp4']
    assert [table.span(*row) for row in table.rows] == [(1.0, 2.5), (None, None)]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'the manifest is empty'),
        ('path\n', 'has a header but no clip'),
        ('path\na,b\n', 'row 2: 2 cells under a header of 1'),
        ('path\n"a\n', 'row 2: not CSV'),
        ('path,end\n ,3\n', 'row 2: the path is empty'),
    ],
)
def test_errors_say_file_row_and_remedy(tmp_path, text, message):
    path = tmp_path / 'list.csv'
    path.write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_table(str(path))
