from mmav.inference.live_report import LiveSummary, line_of


def window(**changes):
    result = dict(
        start=0.0, end=2.0, predictions=[dict(label=name, score=0.5) for name in 'abcd'], latency=0.02, behind=0.0,
        late=[], missing=[], skipped_windows=0, dropped_frames=0, gap=None, error=None,
    )  # fmt: skip
    return {**result, **changes}


def test_lines():
    assert line_of(window()) == '     2.0 s  a 0.500 | b 0.500 | c 0.500  (20 ms)'
    assert line_of(window(labels=[])).endswith('(no label)  (20 ms)')
    assert line_of(window(error='is damaged')) == '     2.0 s  error: is damaged  (20 ms)'
    late = line_of(window(late=['audio', 'video'], missing=['audio'], skipped_windows=3, dropped_frames=12))
    assert late.endswith('(20 ms, no audio, video incomplete, 3 windows skipped, 12 frames dropped)')
    lines = line_of(window(gap=dict(start=1.0, end=7.5, reason='the stream broke'))).splitlines()
    assert lines[0] == '     1.0 s  nothing until 7.5 s: the stream broke' and len(lines) == 2


def test_summary():
    summary = LiveSummary()
    assert summary.text() == 'no window was answered'
    for k in range(101):
        summary.add(window(latency=k / 1000, skipped_windows=1, dropped_frames=2, error='x' if k == 3 else None))
    summary.add(window(gap=dict(start=1.0, end=7.5, reason='')))
    assert summary.text() == (
        '102 windows, latency 50 ms (median), 95 ms (95 %), 101 windows skipped, 202 frames dropped, '
        '1 windows without an answer, 1 gaps of 6.5 s together'
    )
