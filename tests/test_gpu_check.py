"`make gpu-check`, as far as it goes on a machine without a GPU."
import json, sys

import pytest
import torch

sys.path.insert(0, str(__import__('pathlib').Path(__file__).resolve().parent.parent/'benchmarks'))
import gpu_check

def test_without_a_gpu_it_says_what_to_do(capsys):
    if torch.cuda.is_available(): pytest.skip('this machine has CUDA')
    assert gpu_check.main([]) == 2
    assert 'sees no CUDA device' in capsys.readouterr().err

def test_a_failed_part_costs_itself_alone(tmp_path, monkeypatch, capsys):
    import subprocess
    answers = iter([subprocess.CompletedProcess([], 0, 'words\n{"passed": true, "largest_difference": 0.001}\n', ''),
                    subprocess.CompletedProcess([], -9, '', 'CUDA error: an illegal memory access'), subprocess.TimeoutExpired('x', 300)])
    def run(*args, **kwargs):
        a = next(answers)
        if isinstance(a, Exception): raise a
        return a
    monkeypatch.setattr(gpu_check.subprocess, 'run', run); monkeypatch.setattr(gpu_check, 'machine', lambda device: {})
    assert gpu_check.main(['--device', 'cpu', '--only', 'parity', 'tuning', 'memory', '--out', str(tmp_path/'r.json')]) == 1
    found = json.loads((tmp_path/'r.json').read_text())
    assert [p['passed'] for p in found['parts'].values()] == [True, False, False] and not found['passed'], found
    assert 'illegal memory access' in found['parts']['tuning']['error'] and '300 s' in found['parts']['memory']['error'], found
    assert 'FAILED' in capsys.readouterr().out

def test_out_of_memory_is_rehearsed():
    found = gpu_check.out_of_memory('cpu', 100)
    assert found['passed'] and found['parts'] > 1, found

def test_the_memory_curve_of_a_card(monkeypatch):
    "The columns that only CUDA has, by a card that is made up."
    card = dict(is_available=True, memory_allocated=3 * 2 ** 20, memory_reserved=5 * 2 ** 20, max_memory_allocated=4 * 2 ** 20)
    for name, value in card.items(): monkeypatch.setattr(torch.cuda, name, lambda *a, value=value, **kw: value)
    from tabtune.training.callbacks import _memory_usage
    found = _memory_usage()
    assert (found['cuda_mib'], found['cuda_reserved_mib'], found['cuda_peak_mib']) == (3, 5, 4), found

def test_memory_of_a_card_limits_the_support(monkeypatch):
    "The branch of `default_max_support` that only CUDA takes."
    from tabtune.estimators.base import default_max_support
    free = {}
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device=None: (free['bytes'], 80 * 2 ** 30))
    rows = []
    for free['bytes'] in (2 * 2 ** 30, 24 * 2 ** 30): rows.append([default_max_support(21, 64, torch.device('cuda'), landmarks) for landmarks in (False, True)])
    assert rows[0][0] < rows[1][0] <= 50_000 and rows[0][1] < rows[1][1] <= 1_000_000, rows
