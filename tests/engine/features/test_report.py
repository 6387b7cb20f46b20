from mmav.datasets.features import FeatureStore
from mmav.engine.features.report import in_bytes, shown, summary


def test_the_summary_names_broken_clips(extracted):
    text = summary(FeatureStore(extracted.folder / 'train').index, 'out')
    lines = text.splitlines()
    assert lines[0] == "train: 6 clips in 'out'"
    assert '  1 without video' in lines and '  1 without audio' in lines
    assert '  1 broken, without features:' in lines
    assert any(line.startswith('    torn.mp4: ') for line in lines)


def test_sizes_and_values():
    assert in_bytes(0) == '0 B' and in_bytes(3 * 2**40) == '3 TB'
    assert shown(None) == 'null'
    assert shown(list(range(99))).endswith(' ...')
