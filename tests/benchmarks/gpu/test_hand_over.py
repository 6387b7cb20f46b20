from benchmarks.gpu.hand_over import compare_hand_over, hand_over_rows, make_batch
from benchmarks.gpu.processes import Report
from benchmarks.gpu.scale import full_scale, miniature


def test_all_is_measured_in_miniature(tmp_path):
    report = Report(tmp_path / 'report.json', 60.0, tmp_path)
    compare_hand_over(report, miniature())
    found = report.results
    assert not report.errors and found['batch_size'] == 2
    assert found['without'] > 0 and found['ahead'] > 0
    assert list(found['steps']) == ['none', 'random_erasing', 'log_mel', 'all']
    assert 0 <= found['furthest_of_most'] <= found['furthest'] <= 1e-5
    assert len(hand_over_rows(found)) == 1 + 2 + 4 + 1


def test_the_batch_is_the_flagships():
    scale = full_scale()
    batch = make_batch(type(scale)(**{**vars(scale), 'device': 'cpu'}), 0)
    assert batch['inputs']['video'].shape == (8, 2, 3, 16, 224, 224)
    assert batch['lengths']['audio'].tolist() == [[160000]] * 8
