"The package that users install: built, put into a fresh environment, and used from another folder."
import subprocess, sys, tarfile, tempfile, venv, zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PREDICT = '''
import sys
from pathlib import Path
from sklearn.datasets import load_breast_cancer
import tabtune
from tabtune import TabularPipeline
from tabtune.checkpoints import bundled

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
rows = X.sample(120, random_state=0).index
pipe = TabularPipeline().fit(X.loc[rows[:100]], y.loc[rows[:100]])
proba = pipe.predict_proba(X.loc[rows[100:]])
assert proba.shape == (20, 2), proba.shape
assert abs(proba.sum(1) - 1).max() < 1e-5
home = Path(tabtune.__file__).resolve().parent
assert home.is_relative_to(Path(sys.prefix).resolve()), home
assert bundled() and all(Path(p).resolve().is_relative_to(home) for p in bundled().values()), bundled()
'''

@pytest.fixture(scope='module')
def folder():
    with tempfile.TemporaryDirectory() as tmp: yield Path(tmp)

@pytest.fixture(scope='module')
def built(root, folder):
    "The sdist, and the wheel made from it."
    subprocess.run([sys.executable, '-m', 'build', '--outdir', folder/'dist', root], check=True)
    return next((folder/'dist').glob('*.tar.gz')), next((folder/'dist').glob('*.whl'))

def test_sdist_and_wheel_hold_modules_and_weights(root, built):
    sdist, wheel = built
    want = {p.relative_to(root).as_posix() for p in (root/'tabtune').rglob('*') if p.is_file() and '__pycache__' not in p.parts}
    with tarfile.open(sdist) as f: in_sdist = {n.split('/', 1)[-1] for n in f.getnames()}
    assert want | {'settings.ini', 'README.md', 'LICENSE', 'setup.py'} <= in_sdist
    assert want <= set(zipfile.ZipFile(wheel).namelist())

def test_wheel_predicts_in_a_fresh_environment(root, folder, built):
    venv.create(folder/'env', with_pip=True)
    python = folder/'env'/'bin'/'python'
    subprocess.run([python, '-m', 'pip', 'install', '-q', '-c', root/'constraints.txt', built[1]], check=True)
    (folder/'elsewhere').mkdir()
    subprocess.run([python, '-I', '-c', PREDICT], cwd=folder/'elsewhere', check=True)
