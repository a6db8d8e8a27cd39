"What the tests share."
import os, sys
from pathlib import Path

import pytest

os.environ.setdefault('MPLBACKEND', 'Agg')
os.environ['OMP_NUM_THREADS'] = '1'  # before torch loads, and for the processes that tests start: the same sums in the same order
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))

def pytest_configure(config): config.addinivalue_line('markers', 'slow: takes minutes')

@pytest.fixture(scope='session')
def root():
    "The folder of the project."
    return ROOT

@pytest.fixture
def no_kernel(monkeypatch):
    "PyTorch alone, so that what it computes can be watched, or compared in its last bits."
    import tabtune.model.kernel
    monkeypatch.setattr(tabtune.model.kernel, 'library', lambda: None)

class Slot(list):
    def update(self, data, raw): self.append(data)

@pytest.fixture
def displayed(monkeypatch):
    "What is displayed, in order: a list of outputs, each a list of the data that it was given."
    outputs = []
    def display(data, **kw): outputs.append(Slot([data])); return outputs[-1]
    monkeypatch.setattr('IPython.display.display', display)
    return outputs
