"The package that users install: built, put into a fresh environment with only what it asks for, and used from another folder."
import platform, shutil, subprocess, sys, sysconfig, tarfile, tempfile, venv, zipfile
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

PREDICT = '''
import sys
from pathlib import Path

class NotAskedFor:
    "Packages that a user of the wheel would not have."
    names = set(sys.argv[1:])
    def find_spec(self, name, *args):
        if name.split('.')[0] in self.names: raise ModuleNotFoundError(f'{name} is not among the requirements', name=name)
sys.meta_path.insert(0, NotAskedFor())

from sklearn.datasets import load_breast_cancer
import tabtune
from tabtune import TabularPipeline
from tabtune.model.checkpoints import bundled

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
rows = X.sample(120, random_state=0).index
pipe = TabularPipeline().fit(X.loc[rows[:100]], y.loc[rows[:100]])
proba = pipe.predict_proba(X.loc[rows[100:]])
assert proba.shape == (20, 2), proba.shape
assert abs(proba.sum(1) - 1).max() < 1e-5
home = Path(tabtune.__file__).resolve().parent
assert home.is_relative_to(Path(sys.prefix).resolve()), home
from tabtune.model.kernel import library, open_library
assert open_library(lacks=('avx512_bf16',)) is None  # the same wheel on a lesser processor
print('kernel:', library() and library().instructions)
assert bundled() and all(Path(p).resolve().is_relative_to(home) for p in bundled().values()), bundled()
'''

@pytest.fixture(scope='module')
def folder():
    with tempfile.TemporaryDirectory() as tmp: yield Path(tmp)

@pytest.fixture(scope='module')
def built(root, folder):
    "The sdist, and the wheel made from it, with the setuptools that is here: `make setup` has built once in an environment of its own."
    subprocess.run([sys.executable, '-m', 'build', '--no-isolation', '--outdir', folder/'dist', root], check=True)
    return next((folder/'dist').glob('*.tar.gz')), next((folder/'dist').glob('*.whl'))

def test_sdist_and_wheel_hold_modules_and_weights(root, built):
    sdist, wheel = built
    want = {p.relative_to(root).as_posix() for p in (root/'tabtune').rglob('*') if p.is_file() and '__pycache__' not in p.parts and p.suffix != '.so'}
    with tarfile.open(sdist) as f: in_sdist = {n.split('/', 1)[-1] for n in f.getnames()}
    assert want | {'settings.ini', 'README.md', 'LICENSE', 'setup.py'} <= in_sdist
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    assert {n for n in want if '/csrc/' not in n} <= in_wheel
    kernels = [n for n in in_wheel if n.startswith('tabtune/model/_kernel')]
    assert bool(kernels) == bool(shutil.which('gcc') and sys.platform == 'linux' and platform.machine() == 'x86_64'), kernels

def asked_for(name):
    "A distribution and all that it requires."
    found, todo = set(), [canonicalize_name(name)]
    while todo:
        name = todo.pop()
        if name in found: continue
        found.add(name)
        for r in map(Requirement, requires(name) or []):
            if r.marker is None or r.marker.evaluate(dict(extra='')): todo.append(canonicalize_name(r.name))
    return found

def test_wheel_predicts_in_a_fresh_environment(root, folder, built, monkeypatch):
    there = asked_for('tabtune')
    assert {'torch', 'peft', 'pandas', 'scikit-learn', 'ipywidgets', 'numpy', 'accelerate'} <= there and not {'pytest', 'shap', 'polars'} & there
    hide = [m for m, dists in packages_distributions().items() if not there & {canonicalize_name(d) for d in dists} and m.isidentifier()]
    venv.create(folder/'env', with_pip=False)
    python = folder/'env'/'bin'/'python'
    monkeypatch.delenv('PYTHONPATH', raising=False)  # nothing but the wheel
    subprocess.run([sys.executable, '-m', 'pip', '--python', python, 'install', '-q', '--no-deps', built[1]], check=True)
    home = next((folder/'env').glob('lib/python3*/site-packages'))
    (home/'others.pth').write_text(sysconfig.get_path('purelib') + '\n')  # torch and the others are not copied, only seen
    (folder/'elsewhere').mkdir()
    subprocess.run([python, '-I', '-c', PREDICT, *hide], cwd=folder/'elsewhere', check=True)
