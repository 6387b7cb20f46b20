"""What is chosen follows the clips: their length, their number, the time that there is."""

from __future__ import annotations

import pytest
import torch

from mmav.analysis.folder import choices
from mmav.analysis.folder.choices import choose, choose_window, limit_epochs, spectrogram_frames
from mmav.analysis.folder.timing import EpochTime
from mmav.datasets.transforms import LogMel

BASE = dict(train_dataloader=dict(batch_size=16), train_cfg=dict(max_epochs=20))


def chosen(lengths=(2.0,), clips=2000, modalities=('video', 'audio'), **options):
    return choose(lengths, modalities, why_modalities='', clips=clips, base=BASE, workers=0, **options)


@pytest.mark.parametrize(
    ('lengths', 'window'),
    [([2.0, 2.04, 1.96], 2.0), ([0.1, 0.2], 0.5), ([9.0, 10.0, 11.0], 5.0), ([1.0, 1.1, 600.0], 1.1), ([3.14], 3.1)],
)
def test_the_window_is_the_usual_length(lengths, window):
    assert choose_window(lengths)[0] == window


@pytest.mark.parametrize('window', [0.5, 1.1, 2.0, 3.3, 5.0])
def test_a_spectrogram_holds_the_window_and_hardly_more(window):
    frames = spectrogram_frames(window)
    whole = LogMel(target_frames=4).compute(torch.zeros(round(16000 * window))).shape[1]
    assert whole <= frames < whole + 8 and frames % 8 == 0


@pytest.mark.parametrize(('window', 'frames'), [(0.5, 8), (2.0, 8), (4.0, 8), (5.0, 12)])
def test_frames_follow_the_window(window, frames):
    assert chosen([window]).num_frames == frames


@pytest.mark.parametrize(
    ('clips', 'batch', 'epochs'),
    [
        (2000, 16, 20),
        (1600, 16, 20),
        (1000, 16, 28),
        (100, 8, 89),
        (20, 8, 100),
        (6, 4, 100),
        (3, 2, 100),
        (50000, 16, 10),
    ],
)
def test_fewer_clips_take_smaller_batches_and_more_epochs(clips, batch, epochs):
    found = chosen(clips=clips)
    assert (found.batch_size, found.max_epochs) == (batch, epochs)


def test_every_choice_has_a_reason():
    rows = chosen().reasons
    assert [*rows] == ['modalities', 'window', 'frames', 'spectrogram', 'batch', 'epochs', 'reading']
    assert all(row.value for row in rows.values()) and '--workers' in rows['reading'].why
    assert (
        'frames' not in chosen(modalities=('audio',)).reasons
        and 'spectrogram' not in chosen(modalities=('video',)).reasons
    )


def test_the_first_epoch_may_take_longer():
    found = chosen()
    limit_epochs(found, EpochTime(120.0, 30.0), 5.0)
    assert found.max_epochs == 7 and '30.0 s an epoch (the first: 2.0 min)' in found.reasons['epochs'].why


def test_epochs_end_within_the_time():
    found = chosen()
    limit_epochs(found, EpochTime(90.0, 90.0), 10.0)
    assert found.max_epochs == 6 and found.reasons['epochs'].value == '6'
    assert '20 would take 30.0 min, and --minutes is 10' in found.reasons['epochs'].why
    limit_epochs(found, EpochTime(9000.0, 9000.0), 10.0)
    assert found.max_epochs == 1
    enough = chosen()
    limit_epochs(enough, EpochTime(1.0, 1.0), 10.0)
    assert enough.max_epochs == 20 and 'about 20.0 s' in enough.reasons['epochs'].why


def test_asked_epochs_are_taken_whatever_they_take():
    found = chosen()
    limit_epochs(found, EpochTime(900.0, 900.0), 1.0, asked=50)
    assert found.max_epochs == 50 and '--epochs' in found.reasons['epochs'].why


def test_workers_follow_the_cores(monkeypatch):
    def workers(cores, problem=None):
        monkeypatch.setattr(choices, 'cpu_count', lambda: cores)
        monkeypatch.setattr(choices, 'worker_problem', lambda: problem)
        return choose([2.0], ('video',), why_modalities='', clips=9, base=BASE).num_workers

    assert [workers(1), workers(2), workers(64), workers(8, 'no /dev/shm')] == [0, 2, 4, 0]
