import pytest
import torch
from mmengine.dist import get_world_size

from mmav.models.gather import gather_labels, gather_rows
from tests.processes import join_pair, run_pair

ROWS = torch.arange(12.0).reshape(4, 3)
WEIGHTS = torch.linspace(-1, 1, 12).reshape(4, 3)


def compare_half(rank, file):
    """Each process holds two of the four rows."""
    with join_pair(rank, file):
        assert get_world_size() > 1
        half = slice(2 * rank, 2 * rank + 2)
        own = ROWS[half].clone().requires_grad_()
        whole = gather_rows(own)
        torch.testing.assert_close(whole, ROWS)
        (whole.pow(3) * WEIGHTS).sum().backward()
        # over the number of processes, as DistributedDataParallel will have it: the gradient of the whole
        torch.testing.assert_close(own.grad / 2, (3 * ROWS.square() * WEIGHTS)[half])

        labels = torch.tensor([2, 0, 1, 2])
        assert gather_labels(labels[half]).tolist() == [2, 0, 1, 2]
        soft = torch.nn.functional.one_hot(labels, 4).float()
        torch.testing.assert_close(gather_labels(soft[half] if rank else labels[half]), soft)
        with pytest.raises(ValueError, match='batches of \\[1, 2\\] clips.*drop_last=True'):
            gather_labels(labels[: rank + 1])


def test_two_processes_see_the_whole_batch(tmp_path):
    run_pair(compare_half, str(tmp_path / 'pair'))


def test_a_single_process_keeps_its_own():
    assert get_world_size() == 1
    assert gather_rows(ROWS) is ROWS
    labels = torch.tensor([1, 0])
    assert gather_labels(labels) is labels
