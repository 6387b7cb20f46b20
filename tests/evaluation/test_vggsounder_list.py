import sys

import numpy as np
import pytest

from mmav.errors import ManifestError, MmavError
from mmav.evaluation.vggsounder_list import FLAGS, clip_id, find_list, read_list
from tests.evaluation.vggsounder_lists import CLASSES, names, write_list

HEADER = 'video_id,label,modality,background_music,static_image,voice_over\n'
ROWS = [
    '---g-f_I2yQ_000001,male singing,A,True,False,False\n',
    '---g-f_I2yQ_000001,"bird chirping, tweeting",AV,True,False,False\n',
    '--i-y1v8Hy8_000030,male singing,V,False,False,True\n',
]


def write(folder, rows, header=HEADER):
    path = folder / 'list.csv'
    path.write_text(header + ''.join(rows))
    return path


def test_a_list_is_read(tmp_path):
    listed = read_list(write(tmp_path, ROWS))
    assert listed.ids == ('---g-f_I2yQ_000001', '--i-y1v8Hy8_000030')
    assert listed.classes == ('bird chirping, tweeting', 'male singing')
    assert listed.shown.tolist() == [[3, 1], [0, 2]]
    assert {name: listed.flags[name].tolist() for name in FLAGS} == dict(
        background_music=[True, False], static_image=[False, False], voice_over=[False, True]
    )
    subsets = {
        name: listed.labels_of(name).astype(int).tolist() for name in ('a', 'v', 'av', 'a only', 'v only', 'all')
    }
    assert subsets == {
        'a': [[1, 1], [0, 0]],
        'v': [[1, 0], [0, 1]],
        'av': [[1, 0], [0, 0]],
        'a only': [[0, 1], [0, 0]],
        'v only': [[0, 0], [0, 1]],
        'all': [[1, 1], [0, 1]],
    }


def test_classes_are_in_the_order_of_the_file_beside(tmp_path):
    path = write_list(tmp_path)
    assert read_list(path).classes == tuple(CLASSES)
    (tmp_path / 'classes.csv').unlink()
    assert read_list(path).classes == tuple(sorted(CLASSES))
    (tmp_path / 'classes.csv').write_text('display_name\nzebra\ndog barkin\n')
    with pytest.raises(ManifestError, match=r"classes\.csv has no class '.*'"):
        read_list(path)


def test_flags_choose_clips(tmp_path):
    listed = read_list(write_list(tmp_path))
    chosen = listed.chosen(['voice_over'], ['background_music'])
    kept = listed.flags['voice_over'] & ~listed.flags['background_music']
    assert 0 < kept.sum() < len(kept)
    assert chosen.ids == tuple(name for name, keep in zip(listed.ids, kept, strict=True) if keep)
    np.testing.assert_array_equal(chosen.shown, listed.shown[kept])
    assert chosen.flags['voice_over'].all() and not chosen.flags['background_music'].any()
    with pytest.raises(MmavError, match="no flag 'voiceover', only .* did you mean 'voice_over'"):
        listed.chosen(['voiceover'])
    with pytest.raises(MmavError, match='voice_over cannot be both'):
        listed.chosen(['voice_over'], ['voice_over'])
    (tmp_path / 'classes.csv').unlink()
    with pytest.raises(MmavError, match='has no clip with static_image and no voice_over'):
        read_list(write(tmp_path, ROWS)).chosen(['static_image'], ['voice_over'])


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ('--i-y1v8Hy8_30,male singing,V,False,False,True\n', 'line 5: .* is not of the form'),
        ('--i-y1v8Hy8_000030,male talking,W,False,False,True\n', "line 5: modality 'W' is none of A, V, AV"),
        ('--i-y1v8Hy8_000030,male talking,V,False,no,True\n', "line 5: static_image 'no' is neither"),
        ('--i-y1v8Hy8_000030,male talking,V,False,True,True\n', 'line 5: .* has static_image=True, but not in line 4'),
        ('--i-y1v8Hy8_000030,male singing,A,False,False,True\n', "line 5: .* has the label 'male singing' already"),
        ('--i-y1v8Hy8_000030,male singing,A\n', 'line 5: too few cells'),
    ],
)
def test_wrong_rows_are_refused(tmp_path, row, message):
    with pytest.raises(ManifestError, match=message):
        read_list(write(tmp_path, [*ROWS, row]))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"no column 'video_id', only 'id', 'label'.*pip install vggsounder"):
        read_list(write(tmp_path, [], 'id,label\n'))
    with pytest.raises(ManifestError, match='no row below'):
        read_list(write(tmp_path, []))
    with pytest.raises(ManifestError, match='no list of VGGSounder at .*pip install vggsounder'):
        read_list(tmp_path / 'none.csv')


def test_the_list_of_the_package_is_found(tmp_path, monkeypatch):
    """The package is not imported: it needs packages that the list does not."""
    folder = tmp_path / 'vggsounder'
    (folder / 'data').mkdir(parents=True)
    (folder / '__init__.py').write_text('raise ImportError')
    monkeypatch.delitem(sys.modules, 'vggsounder', raising=False)  # where it is installed
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    with pytest.raises(MmavError, match='has no vggsounder'):
        find_list()
    path = write_list(folder / 'data')
    assert find_list() == path and read_list().ids == tuple(names(60))
    monkeypatch.setattr(sys, 'path', [])
    with pytest.raises(MmavError, match='is not installed: install the lists with pip install vggsounder, or give'):
        find_list()


def test_files_tell_their_clip():
    assert clip_id('a/_bcdefghij-_000030.mp4') == '_bcdefghij-_000030'
    assert clip_id('_bcdefghij-_30.webm') == clip_id('_bcdefghij-_30000_40000') == '_bcdefghij-_000030'
    assert clip_id('_bcdefghij-_000030_000040.mp4') == '_bcdefghij-_000030'
    assert clip_id('no video + a/_bcdefghij-_000030.wav') == '_bcdefghij-_000030'
    assert clip_id('f/_bcdefghij-_000030 at 25 fps + a/_bcdefghij-_000030.wav') == '_bcdefghij-_000030'
    assert clip_id('_bcdefghij-.mp4') is clip_id('_bcdefghij-_30_45.mp4') is clip_id('dog_000030.mp4') is None
