"""The tables: figures beside the paper's, with the sizes of the lists; what is missing says so."""

import pytest
from scipy import stats

from mmav.analysis.paper.figures import DATASETS, Reported
from mmav.analysis.paper.tables import Cell, Numbers, layout, markdown, paper_tables, records, unfilled

DATASET = DATASETS['vggsound']
SOURCES = {'MBT': 'on its own test list'}


def rows():
    titles = dict.fromkeys(title for *_, of_table, _ in layout(DATASET) for title in of_table)
    return [
        (
            title,
            'c.py',
            Reported({'top1': 0.5, 'ari': 0.4}, dict.fromkeys(('top1', 'ari'), SOURCES.get(title, 'Table 3'))),
        )
        for title in titles
    ]


def run(top1):
    return dict(top1=top1, top5=1.0, ari=0.25, homogeneity=0.5)


@pytest.fixture
def results():
    return {title: [run(0.25), run(0.75), None] for title, *_ in rows()} | {'+AL': [None] * 3}


def test_interval_of_the_mean_is_students():
    values = (0.5, 0.62, 0.7, 0.55)
    low, high = stats.t.interval(0.95, 3, stats.tmean(values), stats.sem(values))
    cell = Cell(None, values)
    assert (cell.mean - cell.half_width, cell.mean + cell.half_width) == (pytest.approx(low), pytest.approx(high))
    assert Cell(0.5, (0.6,)).half_width is None and Cell(0.5, ()).mean is None


def test_the_page(results):
    found = paper_tables(DATASET, rows(), results)
    assert [table.name for table in found] == ['Table 2', 'Table 3', 'Table 5']
    page = markdown(found, Numbers(DATASET, 24, 12, (0, 1, 2), ('Small models.',)), report='AVC stands.')
    lines = page.splitlines()
    assert '| test | 12,790 | 12 |' in lines and '**Small models.**' in lines and lines[-1] == 'AVC stands.'
    assert '| row | config | top-1, paper (12,790 clips) | top-1, here (12 clips) |' in page
    assert '| Avg | c.py | 50.0 | 50.0 ± 317.7 (2 of 3 seeds) | - | 100.0 ± 0.0 (2 of 3 seeds) |' in lines
    assert '| +AL | c.py | 50.0 | not yet run | - | not yet run |' in lines
    assert '| MBT | c.py | 50.0 [1] | 50.0' in page and '[1] on its own test list' in lines
    assert '| audio only, MAT | c.py | 0.400 | 0.250 ± 0.000 (2 of 3 seeds) | - | 0.500' in page
    assert 'The test lists differ' in page and 'over 3 seeds' in page


def test_what_is_missing_and_the_records(results):
    found = paper_tables(DATASET, rows(), results)
    assert unfilled(found) == [('Table 3', '+AL', 'top1'), ('Table 3', '+AL', 'top5')]
    listed = records(found, Numbers(DATASET, 24, 12, (0, 1, 2)))
    assert len(listed) == 2 * (4 + 8 + 3)
    record = next(each for each in listed if each['row'] == 'Avg' and each['metric'] == 'top1')
    assert record['here'] == 0.5 and record['paper'] == 0.5 and record['seeds_ended'] == 2
    assert (record['paper_test_clips'], record['here_test_clips']) == (12790, 12)


def test_one_seed_and_verbs_and_nouns():
    dataset = DATASETS['epic_kitchens']
    titles = dict.fromkeys(title for *_, of_table, _ in layout(dataset) for title in of_table)
    results = {title: [dict(action_top1=0.125, verb_top1=0.25, noun_top1=0.5)] for title in titles}
    found = paper_tables(dataset, [(title, 'c.py', Reported()) for title in titles], results)
    assert [table.name for table in found] == ['Table 2', 'Table 4'] and not unfilled(found)
    page = markdown(found, Numbers(dataset, None, 9668, (0,)))
    assert '| Avg | c.py | - | 12.5 | - | 25.0 | - | 50.0 |' in page and 'action, here (9,668 clips)' in page
