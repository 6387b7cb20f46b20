import shutil

import fsspec
import pytest

from mmav.errors import ManifestError, MediaError, MmavError
from mmav.inference.clip_lists import list_clips


def test_lists_folders_and_buckets(clip, tmp_path):
    (tmp_path / 'films').mkdir()
    shutil.copy(clip, tmp_path / 'films' / 'b.mp4')
    (tmp_path / 'a.txt').write_text('# films\nx.mp4\n\ns3://b/1.mp4\nx.mp4\n/abs.wav\n', encoding='utf-8-sig')
    (tmp_path / 'a.csv').write_text('label,path\ncat,y.mp4\ndog,https://h/2.mp4\n')
    memory = fsspec.filesystem('memory')
    for name in ('2.mp4', 'deep/1.wav', 'notes.txt'):
        memory.pipe(f'/store/{name}', b'x')
    found = list_clips(
        [
            *(str(tmp_path / name) for name in ('a.txt', 'a.csv', 'films')),
            'memory://store/',
            'http://h/z.mp4',
            str(clip),
        ],
        root='root',
    )
    assert found == [
        'root/x.mp4', 's3://b/1.mp4', '/abs.wav', 'root/y.mp4', 'https://h/2.mp4', str(tmp_path / 'films/b.mp4'),
        'memory:///store/2.mp4', 'memory:///store/deep/1.wav', 'http://h/z.mp4', str(clip),
    ]  # fmt: skip
    assert list_clips(['memory://store']) == list_clips(['memory://store/'])
    assert list_clips(['memory://store/2.mp4']) == ['memory://store/2.mp4']


def test_mistakes_are_one_line(tmp_path):
    (tmp_path / 'a.csv').write_text('file,label\n1.mp4,cat\n')
    (tmp_path / 'none.txt').write_text('# nothing\n')
    with pytest.raises(ManifestError, match="has no column 'flie', only file, label, did you mean 'file'"):
        list_clips([str(tmp_path / 'a.csv')], column='flie')
    with pytest.raises(ManifestError, match='none.txt: no clips'):
        list_clips([str(tmp_path / 'none.txt')])
    with pytest.raises(ManifestError, match='no list of clips at .*; give a list, a folder, or an address'):
        list_clips([str(tmp_path / 'gone.txt')])
    with pytest.raises(MediaError, match='a web server lists no files'):
        list_clips(['https://host/films/'])
    with pytest.raises(MediaError, match='holds no media files among its 0'):
        list_clips(['memory://nothing/'])
    with pytest.raises(MediaError, match='Install s3fs'):
        list_clips(['s3://bucket/'])
    with pytest.raises(MmavError, match='no media files in'):
        list_clips([str(tmp_path)])
