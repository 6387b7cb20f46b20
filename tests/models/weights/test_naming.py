import re

from mmav.models.weights.layouts import LAYOUTS


def test_each_layout_is_whole():
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)
    for layout in LAYOUTS:
        for pattern in (*layout.marks, *layout.lacks, layout.head, layout.fresh, *(old for old, _ in layout.rules)):
            re.compile(pattern)
        # what is left out of a file cannot be what it is known by
        assert not any(re.search(layout.head, mark.strip('^$').replace('\\', '')) for mark in layout.marks), layout.name
