from mmav.inference.report import MOST_BLOCKS, report_of
from mmav.inference.results import new_result


def result(path='clip.mp4', **changes):
    predictions = [dict(label='dog', index=0, score=0.75), dict(label='vacuum cleaner', index=1, score=0.25)]
    whole = dict(duration=4.0, present=['video', 'audio'], predictions=predictions)
    window = dict(start=0.0, end=4.0, predictions=predictions)
    return new_result(path, []) | whole | dict(windows=[window]) | changes


def test_block_of_a_clip():
    lines = report_of([result()]).splitlines()
    assert lines[0] == 'clip.mp4: 4.0 s, video and audio'
    assert lines[1] == f'  0.750  {"█" * 15}       dog' and lines[2].endswith('  vacuum cleaner')
    assert len(lines) == 3


def test_what_the_clip_lacks_and_what_was_withheld():
    assert report_of([result(present=['video'], missing=['audio'])]).startswith(
        'clip.mp4: 4.0 s, video (the file has no audio)'
    )
    assert '(withheld: video)' in report_of([result(present=['audio'], withheld=['video'])])


def test_windows_skipped_ones_and_parts():
    dog = [dict(label='dog', index=0, score=0.75)]
    windows = [dict(start=float(k), end=k + 1.0, predictions=dog) for k in range(2)]
    skipped = [dict(start=2.0, end=3.0, reason='torn')]
    text = report_of([result(windows=windows, skipped=skipped, verb=dog, noun=dog)])
    assert '0.0 to 1.0' in text and '1.0 to 2.0' in text
    assert 'not read (2.0 to 3.0 s): torn' in text and '  verb: dog 0.750' in text


def test_many_clips_have_a_line_each():
    results = [result(f'{k}.mp4') for k in range(MOST_BLOCKS)] + [new_result('bad.mp4', []) | dict(error='torn')]
    lines = report_of(results).splitlines()
    assert len(lines) == 1 + len(results)
    assert lines[0].split() == ['clip', 'tracks', 'label', 'score', 'seconds']
    assert lines[1].split() == ['0.mp4', 'video', '+', 'audio', 'dog', '0.750', '4.0']
    assert lines[-1].split() == ['bad.mp4', 'error:', 'torn']


def test_labels_that_reach_their_thresholds_have_a_star():
    dog, cat = (dict(label=name, index=k, score=score) for k, (name, score) in enumerate([('dog', 0.75), ('cat', 0.4)]))
    owl = dict(label='owl', index=2, score=0.2)
    several = dict(predictions=[dog, cat], labels=[dog, owl])
    lines = report_of([result(**several, windows=[])]).splitlines()
    assert lines[1].startswith('  * 0.750') and lines[2].startswith('    0.400') and lines[3] == '  * owl 0.200'
    nothing = report_of([result(**several | dict(labels=[]), windows=[])])
    assert nothing.endswith('(no label): no class reaches its threshold')
    windows = [dict(start=float(k), end=k + 1.0, predictions=[dog], labels=[[dog, owl], []][k]) for k in range(2)]
    text = report_of([result(**several, windows=windows)])
    assert '0.0 to 1.0  dog | owl' in text and '1.0 to 2.0  (no label)' in text
    table = report_of([result(f'{k}.mp4', **several) for k in range(MOST_BLOCKS + 1)])
    assert 'dog | owl' in table


def test_error_alone():
    assert report_of([new_result('bad.mp4', []) | dict(error='no such file')]) == 'bad.mp4\n  error: no such file'
