import cv2
import numpy as np
import pytest

from mmav.errors import MediaError, MmavError
from mmav.evaluation.feature_splits import Split
from mmav.visualization import retrieval_sheet
from mmav.visualization.prediction_sheet import OTHER, RIGHT, WRONG
from mmav.visualization.retrieval_sheet import Tile, draw_retrieved, middle_frame, retrieved_lines


def test_the_middle_frame_of_a_span(flashes, blind):
    # 4 s at 30 fps with flashes at 0.5, 2.2 and 3.5 s
    whole, part = middle_frame(flashes), middle_frame(flashes, 2.0, 2.4)
    assert whole.dtype == np.uint8 and whole.shape[2] == 3 and min(whole.shape[:2]) == 160
    assert part.mean() > whole.mean() + 20
    with pytest.raises(MediaError):
        middle_frame(blind)


@pytest.fixture
def split():
    video = np.eye(4)
    audio = np.eye(4)[[0, 2, 1, 3]] + 0.1 * np.arange(4)
    labels = [0, 1, 0, 1]
    clips = [dict(path=f'{i}.mp4', start=None, end=None, label=dict(label=label)) for i, label in enumerate(labels)]
    return Split(dict(audio=audio, video=video), dict(label=np.array(labels)), clips, {})


def test_what_was_retrieved(split, monkeypatch):
    read = []

    def frame(path, start, end):
        read.append(str(path))
        return np.full((4, 4, 3), int(path.stem), np.uint8)

    monkeypatch.setattr(retrieval_sheet, 'middle_frame', frame)
    lines = retrieved_lines(split, dict(label=['dog', 'cat']), data_root='x', queries=2, found=2)
    assert [title for title, _ in lines] == 2 * ['audio to video'] + 2 * ['video to audio']
    query, *found = lines[0][1]
    assert (query.name, query.mark) == ('dog', 'query') and [tile.mark for tile in found] == ['clip', 'other']
    assert [tile.frame[0, 0, 0] for tile in found] == [0, 3]
    assert [tile.name for tile in lines[1][1]] == ['cat', 'cat', 'dog']
    assert len(read) == len(set(read)) and 'x/0.mp4' in read


def test_frames_say_what_was_found(tmp_path, figure):
    tile = np.zeros((4, 6, 3), np.uint8)
    line = [Tile(tile, 'dog', mark) for mark in ('query', 'clip', 'class', 'other')]
    draw_retrieved([('audio to video', line), ('video to audio', line[:2])], tmp_path / 'a.png')
    axes = figure[0].axes
    from matplotlib.colors import to_hex

    colours = [to_hex(axis.spines['left'].get_edgecolor()) for axis in axes[1:4]]
    assert colours == [RIGHT, OTHER, WRONG] and axes[0].get_ylabel() == 'audio to video'
    assert axes[1].get_title() == 'dog' and not axes[6].axison and axes[5].axison
    assert cv2.imread(str(tmp_path / 'a.png')) is not None
    with pytest.raises(MmavError, match='there is nothing that was retrieved to draw'):
        draw_retrieved([], tmp_path / 'a.png')
