import torch

from benchmarks import machine as machine_module
from benchmarks.machine import machine, matmul_peak, proportional_memory, resident_memory


def test_the_fastest_product_counts_and_slow_sizes_are_left_out(monkeypatch):
    seconds = {10: [2.0, 1.0], 20: [4.0, 5.0], 40: [900.0, 900.0]}
    made = []

    def time_in_turn(ways, rounds):
        (size,) = ways
        made.append(tuple(ways[size]().shape))
        return {size: seconds[size]}

    monkeypatch.setattr(machine_module, 'time_in_turn', time_in_turn)
    # 2 * 10**3 operations in 1 s, 2 * 20**3 in 4 s; of 40, 3 products of 32 s are expected
    assert matmul_peak(sizes=(10, 20, 40), rounds=2, limit=90.0) == 4000.0
    assert made == [(10, 10), (20, 20)]
    assert matmul_peak(sizes=(10, 20, 40), rounds=2, limit=100.0) == 4000.0
    assert made[2:] == [(10, 10), (20, 20), (40, 40)]


def test_in_the_numbers_that_are_asked_for():
    assert matmul_peak(dtype=torch.bfloat16, sizes=(8,), rounds=1) > 0


def test_the_machine_in_words():
    told = machine()
    assert told['cpu'] and {'av', 'numpy', 'torch', 'libavcodec'} <= set(told['versions'])


def test_memory_of_a_process_is_what_the_system_says(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_module, 'PROC', tmp_path)
    (tmp_path / '7').mkdir()
    status = tmp_path / '7' / 'status'
    status.write_text('Name:\tpython\nVmHWM:\t    3000 kB\nVmRSS:\t    2048 kB\nThreads:\t1\n')
    assert (resident_memory(7), resident_memory(7, peak=True)) == (2048 * 1024, 3000 * 1024)
    assert resident_memory(8) is None and resident_memory() is None
    rollup = 'Rss:  9000 kB\nPss:  5000 kB\nPss_Anon:  700 kB\nPss_File:  4000 kB\nPss_Shmem:  300 kB\n'
    (tmp_path / '7' / 'smaps_rollup').write_text(rollup)
    assert proportional_memory(7) == 1000 * 1024 and proportional_memory(8) is None
    status.write_text('Name:\tkthreadd\n')  # a process of the kernel has no memory of its own
    assert resident_memory(7) is None
