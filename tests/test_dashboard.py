"What a saved notebook keeps, and what the form finds wrong, without a browser."
import json

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

from tabtune.dashboard import PipelineBuilder, TrainingDashboard
from tabtune.live import live_callback

FIT = """from sklearn.datasets import load_iris
from tabtune import TabularPipeline
X, y = load_iris(return_X_y=True)
pipe = TabularPipeline(tuning_strategy='base-ft', model_params=dict(d_model=32, num_layers=1),
                       tuning_params=dict(epochs=1, steps_per_epoch=3, batch_size=1)).fit(X, y)"""

def test_fit_leaves_picture_and_table_in_a_notebook(tmp_path):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(FIT)])
    NotebookClient(nb, timeout=300, kernel_name='python3', store_widget_state=False, resources=dict(metadata=dict(path=str(tmp_path)))).execute()
    outputs = nb.cells[0].outputs
    kinds = {kind for o in outputs for kind in o.get('data', {})}
    assert {'image/png', 'text/html'} <= kinds
    assert 'application/vnd.jupyter.widget-view+json' not in kinds  # nothing that needs the kernel
    assert len(json.dumps(outputs)) < 200_000

@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 3))
    df = pd.DataFrame(x, columns=['a', 'b', 'c']).assign(word=np.where(x[:, 2] > 0, 'up', 'down'), label=np.where(x[:, 0] + x[:, 1] > 0, 'yes', 'no'))
    df.loc[:4, 'label'] = None
    return df

@pytest.mark.parametrize('strategy', ['inference', 'peft'])
def test_copied_code_gives_the_same_numbers(table, strategy):
    b = PipelineBuilder(table, target='label', name='data').set(strategy=strategy, d_model=32, num_layers=1, epochs=1, steps_per_epoch=2, batch_size=1)
    b.set(columns=['a', 'b', 'word'], scaling_strategy='robust', test_size=0.3)
    b.buttons['Start'].click(); b.wait(200)
    assert b.state()['status'] == 'finished', b.dashboard.state()['error']
    space = dict(data=table)
    exec(b.code().replace('pipe.evaluate(', 'scores = pipe.evaluate('), space)
    assert space['scores'] == b.scores

def test_mistakes_stand_beside_their_fields(table):
    b = PipelineBuilder(table, target='label')
    b.set(strategy='base-ft', resume=True, warmup_steps='soon')
    assert 'soon' in b.tuning['warmup_steps'].note.value or 'checkpoint_dir' in b.tuning['resume'].note.value
    assert b.buttons['Start'].disabled
    b.set(resume=False, warmup_steps=None, n_features=2)
    assert 'feature_selection_strategy' in b.steps['n_features'].note.value
    b.set(n_features=None)
    assert not b.buttons['Start'].disabled

def test_hostile_names_are_escaped():
    df = pd.DataFrame({'<script>': [1., 2., 3., 4.] * 5, 'y': ['<b>', 'c'] * 10})
    b = PipelineBuilder(df, target='y')
    assert '<b>' not in b.balance.value.replace('<b>', '', 0).split('&lt;b&gt;')[0][-3:] and '&lt;b&gt;' in b.balance.value
    b.show_code()
    assert '<script>' not in b.code_box.value

def test_error_in_training_is_told_and_not_kept_alive():
    def job(run): raise RuntimeError('no luck')
    d = TrainingDashboard(job); d.start(); d.wait(60)
    s = d.state()
    assert (s['status'], s['error']) == ('failed', 'no luck')
    assert d.buttons['Start'].disabled is False

def test_live_callback_survives_copying():
    import copy
    run = live_callback()
    assert copy.deepcopy([run])[0] is run
