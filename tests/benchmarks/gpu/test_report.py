import pytest

from benchmarks.gpu.report import (
    FAIL,
    NOT_MEASURED,
    PASS,
    TABLES,
    TOOL,
    fill_page,
    find_blocks,
    judge,
    report_text,
    section_text,
    verdict_rows,
)
from mmav.analysis.pages import END, START, read_block
from mmav.errors import MmavError
from tests.toys import ROOT


def content(**changed):
    """A run's file in which only two sections have what their tables need."""
    about = dict(device='cuda', where='NVIDIA H100', python='3.11', versions=dict(torch='2.14.1'))
    outcome = dict(status='done', seconds=3.0, errors=[], left_out=[])
    machine = dict(
        where='NVIDIA H100',
        memory=80 * 2**30,
        peaks=dict(bfloat16=7e14, float32=None),
        kernels={
            'bfloat16, 96': dict(taken='flash', expected='cudnn', run=['flash', 'math']),
            'float32, 96': dict(taken='math', expected='math', run=['math']),
            'float32, 120': None,
        },
    )
    tests = outcome | dict(status='failed', errors=['test_c: no'], results=dict(passed=7, skipped=1, failed=['test_c']))
    return (
        dict(scale='full', about=about, sections=dict(machine=outcome | dict(results=machine), tests=tests)) | changed
    )


@pytest.fixture
def page(tmp_path):
    path = tmp_path / 'page.md'
    path.write_text((ROOT / 'docs' / 'performance.md').read_text())
    return path


def test_machine():
    text = section_text('machine', content()['sections']['machine'])
    for row in (
        '| memory | 80.0 GiB |',
        '| product of matrices, bfloat16 | 700 TFLOP/s |',
        '| product of matrices, float32 | - |',
        '| kernel of attention for bfloat16, 96 | flash (expected: cudnn); flash, math run |',
        '| kernel of attention for float32, 96 | math; math run |',
        '| kernel of attention for float32, 120 | - |',
    ):
        assert row in text


def test_what_failed_and_what_was_left_out_stand_below_the_tables():
    section = content()['sections']['tests'] | dict(left_out=['test_d: 3 s are left'])
    text = section_text('tests', section)
    assert '| failed | 1 |\n| test_c | failed |' in text
    assert text.endswith('\n\n- failed: test_c: no\n- left out: test_d: 3 s are left')


@pytest.mark.parametrize('name', TABLES)
def test_a_section_without_results_says_so(name):
    assert section_text(name, dict(results={})) == 'Not measured yet.'
    assert section_text(name, dict(results={}, errors=['killed after 1 s'])) == '- failed: killed after 1 s'


@pytest.mark.parametrize('name', ['training', 'attention', 'encoders', 'memory', 'forms'])
def test_a_section_that_came_not_far_says_how_it_ended(name):
    assert section_text(name, dict(results=dict(batch_size=8), errors=['x'])) == '- failed: x'


def test_blocks_of_the_page_of_this_repository(page):
    find_blocks(page)
    for name in ('verdicts', *TABLES):
        assert read_block(page, f'gpu: {name}', TOOL).strip(), name
    verdicts = read_block(page, 'gpu: verdicts', TOOL)
    assert all(f'| {verdict.what} | ' in verdicts for verdict in judge({}))


def test_fills_the_blocks_of_what_was_measured(page):
    before = page.read_text()
    assert fill_page(page, content()) == ['verdicts', 'machine', 'tests']
    assert '| where | NVIDIA H100 |' in read_block(page, 'gpu: machine', TOOL)
    assert '- failed: test_c: no' in read_block(page, 'gpu: tests', TOOL)
    verdicts = read_block(page, 'gpu: verdicts', TOOL)
    assert verdicts.strip().startswith('NVIDIA H100, torch 2.14.1, Python 3.11.')
    assert '| the tests that need a GPU pass | fail | 7 passed, 1 failed |' in verdicts
    assert verdicts.count('| not measured |') == 7
    for name in ('training', 'attention', 'encoders', 'memory', 'forms', 'hand_over'):
        block = START.format(name=f'gpu: {name}', tool=TOOL), END.format(name=f'gpu: {name}')
        for one in block:
            assert one in page.read_text()
        assert read_block(page, f'gpu: {name}', TOOL) in before


@pytest.mark.parametrize('changed', [dict(scale='miniature'), dict(about=dict(content()['about'], device='cpu'))])
def test_no_page_takes_what_means_nothing(page, changed):
    before = page.read_bytes()
    with pytest.raises(MmavError, match='would mean nothing there; a page takes those of a run at full size on a GPU'):
        fill_page(page, content(**changed))
    assert page.read_bytes() == before


def test_the_whole_report():
    text = report_text(content())
    assert '\n## machine\n' in text and '\n## tests (failed)\n' in text and 'mean nothing' not in text
    assert 'In miniature: the figures mean nothing.' in report_text(content(scale='miniature'))
    shown = report_text(content(scale='miniature', sections=dict(tests=sections()['tests'])))
    assert shown.count('| not measured |') == 8 and '| passed | 7 |' in shown


def sections(
    *,
    gain=2.5,
    own=4e9,
    other=9e9,
    mat=16.0e9,
    planned=20e9,
    steady=21e9,
    peak=24e9,
    reserved=25e9,
    ahead=0.9,
    off=2e-5,
    failed=(),
):
    """What the tool's JSON file has, as far as verdicts read it."""
    step = dict(
        case='MViTv2-B, attention, bfloat16',
        mode='step',
        batch_size=8,
        ours='attention=auto',
        peer='attention=explicit',
        median={'attention=auto': 0.1, 'attention=explicit': 0.1 * gain},
        ratio_of_medians=gain,
        peak_bytes={'attention=auto': own, 'attention=explicit': other},
    )
    slow = step | dict(case='MViTv2-B, attention, float32', ratio_of_medians=0.1)
    return dict(
        tests=dict(status='failed' if failed else 'done', results=dict(passed=7, skipped=0, failed=list(failed))),
        training=dict(status='done', results=dict(planned=planned, steady=steady, peak=peak, reserved=reserved)),
        encoders=dict(status='done', results=dict(results=[slow, step])),
        memory=dict(
            status='done',
            results=dict(
                bfloat16=[
                    dict(name='MAT, activation checkpointing', batch_size=64, peak=1e9),
                    dict(name='MAT', batch_size=64, peak=mat),
                ],
                float32=[dict(name='MAT', batch_size=64, peak=40e9)],
            ),
        ),
        hand_over=dict(
            status='done', results=dict(without=0.2, ahead=0.2 * ahead, furthest=1e-3, furthest_of_most=off)
        ),
    )


def of(found, **options):
    return [verdict.verdict for verdict in judge(found, **options)]


def test_all_shown():
    assert of(sections()) == [PASS] * 8
    rows = verdict_rows(judge(sections()))
    assert rows[0] == ['to be shown', 'verdict', 'figures'] and len({len(row) for row in rows}) == 1
    figures = [row[2] for row in rows[1:]]
    assert figures == [
        '7 passed, 0 failed',
        'peak 24.0 GB, 25.0 GB taken by the allocator',
        'planned 20.0 GB, measured 21.0 GB: -4.8%',
        '2.50 times (100.0 ms, 250.0 ms; 8 clips)',
        '0.44 of it (4.0 GB, 9.0 GB; 8 clips)',
        '16.0 GB in bfloat16',
        '180.00 ms, 200.00 ms without',
        '2.0e-05, the furthest 1.0e-03',
    ]


@pytest.mark.parametrize(
    ('changed', 'which'),
    [
        (dict(failed=['tests/test_a.py::test_b']), 0),
        (dict(reserved=40.1e9), 1),
        (dict(planned=18.8e9), 2),
        (dict(planned=23.2e9), 2),
        (dict(gain=1.99), 3),
        (dict(own=4.6e9), 4),
        (dict(mat=16.8e9), 5),
        (dict(ahead=1.03), 6),
        (dict(off=2e-4), 7),
    ],
)
def test_each_can_fail_alone(changed, which):
    assert of(sections(**changed)) == [FAIL if number == which else PASS for number in range(8)]


@pytest.mark.parametrize(
    ('changed', 'which'), [(dict(planned=18.95e9), 2), (dict(planned=23.05e9), 2), (dict(gain=2.0), 3)]
)
def test_bounds(changed, which):
    assert of(sections(**changed))[which] == PASS


def test_what_was_not_measured_is_said_to_be_so():
    assert of({}) == of(sections(), real=False) == [NOT_MEASURED] * 8
    for name, which in dict(tests=[0], training=[1, 2], encoders=[3, 4], memory=[5], hand_over=[6, 7]).items():
        found = sections() | {name: dict(status='left out', results={})}
        assert of(found) == [NOT_MEASURED if number in which else PASS for number in range(8)]
    assert of(sections(planned=None))[2] == NOT_MEASURED  # the planner failed, the training did not
    assert of(sections(peak=None, steady=None))[1:3] == [NOT_MEASURED] * 2


def test_tests_that_came_to_no_end_have_not_passed():
    found = sections()
    found['tests']['status'] = 'out of time'
    assert of(found)[0] == NOT_MEASURED
    found['tests']['results']['failed'] = ['tests/test_a.py::test_b']
    assert of(found)[0] == FAIL
