"What the tests share."
import json, os, subprocess, sys
from pathlib import Path

import pytest

os.environ.setdefault('MPLBACKEND', 'Agg')
os.environ['OMP_NUM_THREADS'] = '1'  # before torch loads, and for the processes that tests start: the same sums in the same order
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))

def pytest_configure(config): config.addinivalue_line('markers', 'slow: takes minutes')

# dashboards and app_page click in a browser and wait most of the time: one after the other, beside those that compute
LONGEST = ('dashboards tuning leaderboard dashboard guide app_page columns wheel pretrain long_tables tables regression trust '
           'encode explain kernel pipeline student two_processes fuzz lora').split()

def pytest_collection_modifyitems(items):
    "The longest files first, so that all workers end at about the same time; `make test` keeps this order."
    place = {f'test_{name}.py': i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))

@pytest.fixture(scope='session')
def root():
    "The folder of the project."
    return ROOT

SERVE = """
import json, os, sys, traceback
import numpy, pandas, sklearn.pipeline, torch
for line in sys.stdin:
    code, args, env, out, err = json.loads(line)
    pid = os.fork()
    if pid: print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True); continue
    for number, name in enumerate((os.devnull, out, err)): os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
    sys.stdin, sys.argv[1:], status = open(0), args, 0
    os.environ.update(env)
    try: exec(compile(code, '<code of a test>', 'exec'), sys.modules['__main__'].__dict__)
    except SystemExit as e: status = int(e.code or 0)
    except BaseException: traceback.print_exc(); status = 1
    sys.stdout.flush(); sys.stderr.flush()
    os._exit(status)
"""

@pytest.fixture(scope='session')
def fresh(tmp_path_factory):
    """Function (code, *arguments, **environment): run code in a process that has loaded nothing of TabTune, and return its `CompletedProcess`.
    NumPy, pandas, scikit-learn and torch are loaded once for all of them, which takes seconds."""
    place = tmp_path_factory.mktemp('fresh')
    server = subprocess.Popen([sys.executable, '-c', SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    def run(code, *args, **env):
        names = [place/'out', place/'err']
        for n in names: n.unlink(missing_ok=True)
        server.stdin.write(json.dumps([code, [*map(str, args)], env, *map(str, names)]) + '\n'); server.stdin.flush()
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess([code, *args], status, *(n.read_text() for n in names))
    yield run
    server.stdin.close(); server.wait()

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
