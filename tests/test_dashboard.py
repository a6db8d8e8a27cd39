"What a saved notebook keeps, and what the form finds wrong, without a browser."
import json, os, re, subprocess, sys, time

import numpy as np
import pandas as pd
import pytest

from tabtune.dashboard import PipelineBuilder, TrainingDashboard
from tabtune import TabularPipeline
from tabtune.widgets.training_view import live_callback
from tabtune.training.callbacks import History

FIT = """from sklearn.datasets import load_iris
from tabtune import TabularPipeline
X, y = load_iris(return_X_y=True)
pipe = TabularPipeline(tuning_strategy='base-ft', model_params=dict(d_model=32, num_layers=1),
                       tuning_params=dict(epochs=1, steps_per_epoch=3, batch_size=1)).fit(X, y)"""

def executed(cells, folder):
    "A notebook of these cells, after a kernel ran it."
    import nbformat  # takes seconds: not while tests are collected
    from nbclient import NotebookClient
    nb = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, cells)])
    NotebookClient(nb, timeout=1200, kernel_name='python3', store_widget_state=False, resources=dict(metadata=dict(path=str(folder)))).execute()
    return nb

def test_fit_leaves_picture_and_table_in_a_notebook(tmp_path):
    nb = executed([FIT], tmp_path)
    outputs = nb.cells[0].outputs
    kinds = {kind for o in outputs for kind in o.get('data', {})}
    assert kinds == {'text/html', 'text/plain'} and sum('<img src="data:image/png' in str(o) for o in outputs) == 1
    assert 'kept' in str(outputs) and 'application/vnd.jupyter.widget-view+json' not in kinds  # nothing that needs the kernel
    assert len(json.dumps(outputs)) < 200_000

def test_what_stays_of_a_long_run_is_small():
    rng, h = np.random.default_rng(0), History()
    h.rows = [dict(step=i, loss=1 + rng.normal(), lr=1e-4, grad_norm=rng.gamma(2), rows=100 * i, seconds=i / 9, rss_mib=500 + rng.normal(), progress=i / 30_000)
              for i in range(1, 30_001)]
    d = TrainingDashboard(h); d.end()
    assert len(d.curves.points) < 1000
    assert list(d.static()) == ['image/png', 'text/html', 'text/plain']
    assert len(json.dumps(d.static())) < 200_000

OTHER = """import sys, time
from sklearn.datasets import load_iris
from tabtune import TabularPipeline
from tabtune.training.loop import Callback
class Slowly(Callback):
    def on_step(self, state): time.sleep(0.05)
X, y = load_iris(return_X_y=True)
params = dict(epochs=50, steps_per_epoch=10, batch_size=1, n_episodes=10_000, checkpoint_dir=sys.argv[1], show_progress=False, early_stopping=False)
TabularPipeline(tuning_strategy='base-ft', model_params=dict(d_model=32, num_layers=1), tuning_params=params | dict(callbacks=[Slowly()])).fit(X, y)"""

def until(f, what, seconds=600):
    end = time.monotonic() + seconds
    while not f(): assert time.monotonic() < end, f'waited in vain for {what}'; time.sleep(0.05)

def test_a_run_elsewhere_is_watched_and_outlives_its_process(tmp_path, root):
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get('PYTHONPATH')])])
    other = subprocess.Popen([sys.executable, '-c', OTHER, str(tmp_path)], env=os.environ | dict(PYTHONPATH=path), cwd=root)
    try:
        d = TrainingDashboard(tmp_path); d.monitor()  # before there is a file
        until(lambda: d.state()['step'] >= 3, 'its first steps')
        picture, step = d.image.png, d.state()['step']
        until(lambda: d.image.png != picture and d.state()['step'] > step, 'its next steps')
        assert (d.state()['status'], d.buttons['Stop'].disabled) == ('watching', True)
        until(lambda: (tmp_path/'state.pt').exists(), 'its first checkpoint')
    finally: other.kill(); other.wait()
    d.run.done.set(); d.wait(600)
    again = TrainingDashboard(tmp_path).state()  # what a new kernel sees
    assert again['step'] >= 10 and again['untuned'] is not None
    from sklearn.datasets import load_iris
    params = dict(epochs=3, steps_per_epoch=10, batch_size=1, n_episodes=10_000, checkpoint_dir=str(tmp_path), resume=True, early_stopping=False)
    pipe = TabularPipeline(tuning_strategy='base-ft', model_params=dict(d_model=32, num_layers=1), tuning_params=params)
    on = TrainingDashboard(pipe, *load_iris(return_X_y=True))
    assert on.state()['step'] >= 10, 'the earlier piece shows before Start'
    on.start(); on.wait(600)
    assert (on.state()['status'], on.state()['error']) == ('finished', None)
    assert on.state()['step'] >= 30 and on.curves.column('step')[0] == 1

@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 3))
    df = pd.DataFrame(x, columns=['a', 'b', 'c']).assign(word=np.where(x[:, 2] > 0, 'up', 'down'), label=np.where(x[:, 0] + x[:, 1] > 0, 'yes', 'no'))
    df.loc[:4, 'label'] = None
    return df

@pytest.mark.parametrize('target, strategy', [('label', 'inference'), ('label', 'base-ft'), ('label', 'peft'), ('amount', 'inference'), ('amount', 'base-ft')])
def test_copied_code_gives_the_same_numbers(table, target, strategy):
    table['amount'] = table.a - 2 * table.b
    table.loc[7:9, 'amount'] = np.nan
    b = PipelineBuilder(table, target=target, name='data').set(strategy=strategy, epochs=1, steps_per_epoch=2, batch_size=1)
    if target == 'label': b.set(d_model=32, num_layers=1)
    b.set(columns=['a', 'b', 'word'], column_types=dict(word='text', c='category'), scaling_strategy='robust', test_size=0.3)
    assert "column_types={'word': 'text'}" in b.code()  # of the columns in use
    b.buttons['Start'].click(); b.wait(600)
    assert b.state()['status'] == 'finished', b.dashboard.state()['error']
    space = dict(data=table)
    exec(b.code().replace('pipe.evaluate(', 'scores = pipe.evaluate('), space)
    assert space['scores'] == b.scores
    assert ('rmse' if target == 'amount' else 'accuracy') in b.scores

def test_mistakes_stand_beside_their_fields(table):
    b = PipelineBuilder(table, target='label')
    b.set(strategy='base-ft', resume=True, warmup_steps='soon')
    assert 'soon' in b.tuning['warmup_steps'].note.value
    assert 'checkpoint_dir' in b.tuning['resume'].note.value
    assert b.buttons['Start'].disabled
    b.set(resume=False, warmup_steps=None, n_features=2)
    assert 'feature_selection_strategy' in b.processing['n_features'].note.value
    b.set(n_features=None)
    assert not b.buttons['Start'].disabled

def test_hostile_names_are_escaped():
    df = pd.DataFrame({'<script>': [1., 2., 3., 4.] * 5, 'z': range(20), 'y': ['<b>', 'c'] * 10})
    b = PipelineBuilder(df, target='y').set(columns=['<script>'])
    assert '<b>' not in b.target_plot.value and '&lt;b&gt;' in b.target_plot.value
    b.show_code()
    assert '<script>' not in b.code_box.value and '&lt;script&gt;' in b.code_box.value

def test_error_in_training_is_reported_and_not_kept_alive():
    def job(run): raise RuntimeError('no luck')
    d = TrainingDashboard(job); d.start(); d.wait(600)
    s = d.state()
    assert (s['status'], s['error']) == ('failed', 'no luck')
    assert d.buttons['Start'].disabled is False

def test_memory_of_a_gpu_is_shown_against_what_the_card_has(monkeypatch):
    "A CPU that says it is a GPU: allocated, reserved, peak, of how much, beside run and process."
    gib = 2 ** 30
    for name, value in dict(is_available=True, memory_allocated=2 * gib, memory_reserved=3 * gib, max_memory_allocated=2.5 * gib, mem_get_info=(70 * gib, 80 * gib)).items():
        monkeypatch.setattr(f'torch.cuda.{name}', lambda *_, value=value: value)
    from tabtune.training.callbacks import _memory_usage
    d = TrainingDashboard(lambda run: run.history.rows.extend([dict(step=1, loss=0.7, rows=100, seconds=0.5, progress=1.0) | _memory_usage()]))
    d.start(); d.wait(600)
    shown = dict(re.findall(r'>([^<>]+)</div><div[^>]*>([^<]+)<', d.numbers.value))
    assert [shown[f'GPU {k}'] for k in ('allocated', 'reserved', 'peak', 'in all')] == ['2.0 GiB', '3.0 GiB', '2.5 GiB', '80.0 GiB'], shown
    assert {'run memory', 'process memory'} <= {*shown} and 'GPU peak 2.5 GiB, GPU in all 80.0 GiB' in d.static()['text/html']

def test_live_callback_survives_copying():
    import copy
    run = live_callback()
    assert copy.deepcopy([run])[0] is run

def test_a_second_run_shows_nothing_of_the_first(displayed):
    rows = lambda loss: [dict(step=0, validated=True, val_loss=loss), dict(step=1, loss=loss, rows=100, seconds=0.5, progress=1.0, rss_mib=700.0)]
    d = TrainingDashboard(lambda run: run.history.rows.extend(rows(0.71))); d._ipython_display_()
    d.start(); d.wait(600)
    first = displayed[1][-1]['text/html']
    d.job = lambda run: run.history.rows.extend(rows(0.52))
    d.start(); d.wait(600)
    again = displayed[1][-1]['text/html']
    assert '0.7100' in first and '0.5200' in again and '0.7100' not in again and len(displayed) == 2
    h = History(); h.rows = rows(0.71) + rows(0.52)  # one history of two runs, one after the other
    assert TrainingDashboard(h).state()['untuned'] == 0.52

def test_a_finished_run_that_is_shown_again_leaves_its_picture(displayed):
    h = History(); h.rows = [dict(step=1, loss=0.7, rows=100, seconds=0.5, progress=1.0, rss_mib=700.0)]
    d = TrainingDashboard(h); d.end(); d._ipython_display_()
    assert len(displayed) == 2 and 'finished' in displayed[1][-1]['text/html'] and 'data:image/png' in displayed[1][-1]['text/html']

def test_the_form_leaves_choices_code_and_results(table, displayed):
    b = PipelineBuilder(table, target='label', name='data').set(d_model=32, num_layers=1, columns=['a', 'b'])
    b._ipython_display_()
    first = displayed[1][0]['text/html']
    assert 'TabularPipeline(' in first and '<img' not in first
    b.start(); b.wait(600); b.stop()  # nothing is left to stop
    last = displayed[1][-1]['text/html']
    assert last.count('<img') == 2 - ('inference' in last and not b.dashboard.curves.last_row) and 'accuracy' in last and 'were changed' not in last
    b.set(columns=['a']); assert 'were changed after it' in displayed[1][-1]['text/html']

VIEWS = {
 'training': "from tabtune.training.callbacks import History\nh = History(); h.rows = [dict(step=0, validated=True, val_loss=.69)] + [dict(step=i, loss=.7 - i / 50, rows=100 * i, seconds=i, progress=i / 8) for i in range(1, 9)]\nTrainingDashboard(h)",
 'episode': "EpisodeView(X, y, support_size=8, query_size=4)", 'prior': "PriorView()",
 'attention': "AttentionView(TabularPipeline(model_params=dict(d_model=32, num_layers=1)).fit(X, y), X[:4])",
 'leaderboard': "b = TabularLeaderboard(X[::2], X[1::2], y[::2], y[1::2]); b.add_model('LogisticRegression'); v = LeaderboardView(b); display(v); v.start(); v.wait();",
 'results': "f = PipelineBuilder(X.assign(y=y)).set(d_model=32, num_layers=1); display(f); f.start(); f.wait();",
 'nothing': "TrainingDashboard('nowhere')"}
HOLDS = dict(training='finished', episode='support rows', prior='Eight tables', attention='the query', leaderboard='LogisticRegression', results='accuracy', nothing='nothing is there')

def test_a_notebook_shows_every_view_without_a_kernel(tmp_path):
    load = """from sklearn.datasets import load_iris
from tabtune import TabularLeaderboard, TabularPipeline
from tabtune.dashboard import AttentionView, EpisodeView, LeaderboardView, PipelineBuilder, PriorView, TrainingDashboard
X, y = load_iris(return_X_y=True, as_frame=True)"""
    nb = executed([load, *VIEWS.values()], tmp_path)
    for name, cell in zip(VIEWS, nb.cells[1:]):
        kinds = [k for o in cell.outputs for k in o.get('data', {})]
        assert kinds == ['application/vnd.jupyter.widget-view+json', 'text/html', 'text/html', 'text/plain'], name
        assert HOLDS[name] in cell.outputs[1].data['text/html'] and '<script' not in cell.outputs[1].data['text/html'], name
    from nbconvert import HTMLExporter
    page, _ = HTMLExporter().from_notebook_node(nb)
    body = page[page.index('<body'):]
    assert body.count('tabtune-copy">') == len(VIEWS) and 'model not found' not in body and 'widget-view+json"}' not in body
    assert not [name for name, words in HOLDS.items() if words not in body]
    assert 'application/vnd.jupyter.widget-view+json">' not in body.replace('data-mime-type=', ''), 'no place where a widget would be looked for'
