import pytest

from benchmarks.gpu_verdicts import FAIL, NOT_MEASURED, PASS, judge, verdict_rows


def sections(
    *, gain=2.5, own=4e9, other=9e9, mat=16.0e9, planned=20e9, steady=21e9, peak=24e9, reserved=25e9, failed=()
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
    )


def of(found, **options):
    return [verdict.verdict for verdict in judge(found, **options)]


def test_all_shown():
    assert of(sections()) == [PASS] * 6
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
    ],
)
def test_each_can_fail_alone(changed, which):
    assert of(sections(**changed)) == [FAIL if number == which else PASS for number in range(6)]


@pytest.mark.parametrize(
    ('changed', 'which'), [(dict(planned=18.95e9), 2), (dict(planned=23.05e9), 2), (dict(gain=2.0), 3)]
)
def test_bounds(changed, which):
    assert of(sections(**changed))[which] == PASS


def test_what_was_not_measured_is_said_to_be_so():
    assert of({}) == of(sections(), real=False) == [NOT_MEASURED] * 6
    for name, which in dict(tests=[0], training=[1, 2], encoders=[3, 4], memory=[5]).items():
        found = sections() | {name: dict(status='left out', results={})}
        assert of(found) == [NOT_MEASURED if number in which else PASS for number in range(6)]
    assert of(sections(planned=None))[2] == NOT_MEASURED  # the planner failed, the training did not
    assert of(sections(peak=None, steady=None))[1:3] == [NOT_MEASURED] * 2


def test_tests_that_came_to_no_end_have_not_passed():
    found = sections()
    found['tests']['status'] = 'out of time'
    assert of(found)[0] == NOT_MEASURED
    found['tests']['results']['failed'] = ['tests/test_a.py::test_b']
    assert of(found)[0] == FAIL
