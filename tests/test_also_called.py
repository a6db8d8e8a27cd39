"Names of the field's public toolkit are understood, and told once; nbs/core/00a_also_called.ipynb has the table."
import tabtune
from tabtune.core.also_called import ALSO_CALLED
from tabtune.core.config import TUNING_KEYS

def test_every_setting_of_the_table_leads_to_one_that_exists():
    assert {v for v in ALSO_CALLED['tuning_params'].values() if ' ' not in v} <= set(TUNING_KEYS)
    pipe = tabtune.TabularPipeline()
    assert all(hasattr(pipe, ours) for ours in ALSO_CALLED['TabularPipeline'].values())

SCRIPT = """
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from tabtune import TabularLeaderboard, TabularPipeline
X, y = load_iris(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=.5, random_state=0)
lb = TabularLeaderboard(X_train, X_test, y_train, y_test)
lb.add_model('Mitra', name='Mitra-Small', model_params={'d_model': 32, 'num_layers': 1}, tuning_params={'early_stopping_patience': 2})
lb.add_model('knn', label='neighbours')
lb.run(rank_by='accuracy')
"""

def test_a_script_that_ends_with_run_prints_its_table(fresh):
    out = fresh(SCRIPT)
    assert out.returncode == 0, out.stderr
    lines = out.stdout.splitlines()
    assert lines[0].split()[:2] == ['name', 'accuracy'] and {l.split()[1] for l in lines[2:]} == {'Mitra-Small', 'neighbours'}
    assert out.stderr.count("'early_stopping_patience' is called 'patience' here") == 1 and "'label' is called 'name' here" in out.stderr
