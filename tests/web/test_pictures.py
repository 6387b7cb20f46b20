import base64
import re

import cv2
import numpy as np
import pytest
import torch

from mmav.analysis.grad_cam.clips import SeenClip
from mmav.datasets.transforms import LogMel
from mmav.web.demo import Answer, Explanation
from mmav.web.pictures import explanation_html, timeline_html

EVIL = '<img src=x onerror=alert(1)>'
PICTURE = r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)">'


def pictures(html):
    """Alternative text -> picture (H, W, 3) BGR."""
    return {
        words: cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1)
        for words, data in re.findall(PICTURE, html)
    }


def explanation(maps):
    frames = np.full((1, 4, 32, 32, 3), 90, np.uint8)
    inputs = dict(video=torch.zeros(1, 3, 4, 32, 32), audio=torch.rand(1, 1, 16, 200) - 5)
    times = np.array([[0.25, 0.75, 1.25, 1.75]])
    seen = SeenClip('clip.mp4', dict(inputs=inputs), 2.0, 4.0, frames, times, None, LogMel(16, 40))
    return Explanation(seen, maps)


def test_frames_and_spectrogram_with_their_maps():
    maps = dict(video=torch.zeros(1, 4, 32, 32), audio=torch.ones(1, 16, 200))
    maps['video'][0, 3, :16] = 1.0
    html = explanation_html(explanation(maps), 'dog')
    assert '<b>dog</b> (Grad-CAM), 2.0 to 4.0 s.' in html and 'There is none' not in html
    frames, sound = pictures(html).values()
    assert sound.shape[1] == 960 and sound.shape[0] > 300
    height, width = frames.shape[:2]
    plain, drawn = frames[height - width // 4 - 20], frames[height - width // 8 - 20]  # rows of the upper, lower strip
    last, first = round(0.9 * width), round(0.1 * width)
    assert plain[first].tolist() == plain[last].tolist() == [90, 90, 90]
    blue, _, red = drawn[last].astype(int)
    assert red > blue and drawn[first][0] > drawn[first][2]  # red where the map is 1, blue where it is 0


@pytest.mark.parametrize('name', ['video', 'audio'])
def test_one_modality_alone(name):
    shape = dict(video=(1, 4, 32, 32), audio=(1, 16, 200))[name]
    html = explanation_html(explanation({name: torch.zeros(shape)}), EVIL)
    (words,) = pictures(html)
    assert name in words and f'There is none in the {name}.' in html
    assert '<img src=x' not in html and '&lt;img src=x' in html


def test_timeline_has_a_row_for_each_window():
    scores = np.array([[0.2, 0.7, 0.1], [0.9, 0.05, 0.05], [0.2, 0.7, 0.1]])
    answer = Answer('clip.mp4', 'video and audio', [], [(0.0, 2.0), (1.5, 3.5), (3.0, 5.0)], dict(label=scores), [])
    html = timeline_html(answer, dict(label=[EVIL, 'dog', 'owl']))
    assert re.findall(r'<td>([\d.]+ to [\d.]+) s</td><td>(.*?)</td><td>([\d.]+) %', html) == [
        ('0.0 to 2.0', 'dog', '70.0'),
        ('1.5 to 3.5', '&lt;img src=x onerror=alert(1)&gt;', '90.0'),
        ('3.0 to 5.0', 'dog', '70.0'),
    ]
    assert len(pictures(html)) == html.count('<img') == 1


def test_timeline_names_the_labels_that_reach_their_thresholds():
    scores = np.array([[0.6, 0.7, 0.1], [0.1, 0.05, 0.05]])
    answer = Answer('clip.mp4', 'video and audio', [], [(0.0, 2.0), (1.5, 3.5)], dict(label=scores), [])
    answer.labels, answer.thresholds = [], dict(label=np.array([0.5, 0.5, 0.5]))
    html = timeline_html(answer, dict(label=['cat', 'dog', 'owl']))
    assert re.findall(r's</td><td>(.*?)</td>', html) == ['dog | cat', 'none']
