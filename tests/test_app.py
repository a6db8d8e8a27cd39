"The app without a browser: names and cells are data everywhere, and what is wrong is said where the eye is."
import html, json, re

import ipywidgets as w
import numpy as np
import pandas as pd
import pytest
from code_host import assert_survives

import tabtune
from tabtune.dashboard import WIDGETS, App
from tabtune.widgets.open_step import read_upload
from tabtune.widgets.view import durable_copy, widget_data

HOSTILE = '<img src=x onerror=alert(1)>$\\frac{'
SMALL = dict(d_model=32, num_layers=1)

def descendants(widget):
    "A widget and all that it holds."
    yield widget
    for child in getattr(widget, 'children', ()): yield from descendants(child)

def texts(page): return [d.value for d in descendants(page.widget) if isinstance(d, w.HTML)] + [page.static().get('text/html', '')]
def said(page, words): return any(words in html.unescape(re.sub('<[^>]+>', '', t)) for t in texts(page))

def table(n=60, **more):
    x = np.random.default_rng(0).normal(size=(n, 2)).round(2)
    return pd.DataFrame(x, columns=['a', 'b']).assign(**more or dict(label=np.where(x[:, 0] > 0, 'yes', 'no')))

@pytest.fixture
def page(tmp_path): return tabtune.app(folder=tmp_path)

def run(page, **settings):
    page.session.form.set(**SMALL | settings)
    page.session.form.buttons['Start'].click(); page.session.form.wait(600)
    return page.state()

def test_names_and_cells_are_text_on_the_whole_way(page, tmp_path):
    d = table().rename(columns={'a': HOSTILE})
    d['label'], d['town'], d['when'] = np.where(d[HOSTILE] > 0, HOSTILE, 'no'), HOSTILE + 'Rome', pd.date_range('2024-01-01', periods=60).astype(str)
    d.to_csv(tmp_path/'<b>x.csv', index=False)
    page.steps['Open'].list_files(); page.steps['Open'].open_button.click()
    assert page.state()['Open']['table'] == '<b>x.csv' and page.session.form.target.value == 'when'
    page.session.form.target.value = 'label'
    s = run(page, strategy='base-ft', epochs=1, steps_per_epoch=2, batch_size=1, support_size=16, query_size=8)
    assert (s['step'], s['Watch']['status'], s['Watch']['error']) == ('Judge', 'finished', None)
    page.steps['Judge'].importance.compute(); page.steps['Judge'].importance.wait(600)
    page.steps['Use'].test_button.click(); page.steps['Use'].wait(600); page.steps['Use'].download_button.click()
    page.steps['Remember'].compare_button.click(); page.session.form.show_code()
    everything = texts(page)
    assert said(page, HOSTILE) and said(page, 'rows of \'test rows\' are predicted') and said(page, 'is shuffled')
    assert not [t for t in everything if re.search('<img (?!src="data:image/png;base64,)', t) or '<b>x' in t]  # pictures are ours
    assert_survives([{}, durable_copy(page.static())]); assert_survives([{}, durable_copy(page.session.form.static())])
    assert json.loads(json.dumps(page.state(), allow_nan=False)) == page.state() and len(json.dumps(page.static())) < 400_000

def use_nothing(page): page.session.open_table(table(), 't'); page.steps['Open'].none_button.click()
def no_gpu(page): page.session.open_table(table(), 't'); page.session.form.set(device='mps')

SAID = {  # what is wrong -> how it comes about, and the words that tell it
    'identifiers': (lambda p: p.session.open_table(table(key=np.arange(60) + 7, y=['a', 'b'] * 30), 't'), 'identifier: 60 different whole numbers'),
    'a constant column': (lambda p: p.session.open_table(table(town='Rome', y=['a', 'b'] * 30), 't'), "constant: all cells that hold something are 'Rome'"),
    'a constant target': (lambda p: p.session.open_table(table(y='a'), 't'), "'y' has 1 value: nothing to predict"),
    'a target of 900 values': (lambda p: p.session.open_table(table(1000, y=[f'n{i % 900}' for i in range(1000)]), 't'), '900 different values, and each becomes a class'),
    'no such device': (no_gpu, "There is no 'mps' on this machine"),
    'no columns': (use_nothing, 'choose at least one column'),
    'a broken file': (lambda p: p.steps['Open'].attempt(lambda: read_upload('x.parquet', b'PAR1')), "'x.parquet' can't be read as .parquet"),
    'an empty file': (lambda p: p.steps['Open'].attempt(lambda: read_upload('x.csv', b'')), "'x.csv' can't be read"),
    'too large a file': (lambda p: p.steps['Open'].upload.offer('x.csv', b'', 10 ** 9), 'an upload takes 9')}

@pytest.mark.parametrize('act, words', SAID.values(), ids=[*SAID])
def test_what_is_wrong_is_said_on_the_page(page, act, words):
    act(page)
    assert said(page, words), [html.unescape(t)[:200] for t in texts(page)]

def test_a_mistake_keeps_a_run_from_starting(page):
    use_nothing(page); assert page.session.form.buttons['Start'].disabled
    page.session.form.start(); assert page.state()['Watch']['status'] == 'ready'

def test_a_failed_run_says_why_and_judges_nothing(page, monkeypatch):
    page.session.open_table(table(), 't')
    monkeypatch.setattr(tabtune.TabularPipeline, 'fit', lambda self, X, y: (_ for _ in ()).throw(MemoryError('no <memory>')))
    s = run(page)
    assert (s['step'], s['Watch']['status'], s['Judge'], s['Remember']['runs'].popitem()[1]['status']) == ('Watch', 'failed', dict(scores=None), 'failed')
    assert said(page, 'no <memory>')

def test_a_new_table_forgets_the_model_of_the_last(page):
    page.session.open_table(table(), 't'); run(page); assert page.state()['Use']['model']
    page.session.open_table(table(), 'u'); s = page.state()
    assert not s['Use']['model'] and s['Judge'] == dict(scores=None) and not said(page, 'that it did not see')

@pytest.mark.parametrize('name', WIDGETS)
def test_every_control_has_a_name(name):
    view = WIDGETS[name].example('x'); widget_data(view.widget)
    parts = [d for d in descendants(view.widget) if hasattr(d, 'description')]
    assert not [type(c).__name__ for c in parts if c.tooltip is None], 'ipywidgets writes title="null" for these'
    assert not [repr(c)[:200] for c in parts if not isinstance(c, (w.HTML, w.Label)) and not (c.description or c.tooltip)], 'a control without a name'

def test_the_app_begins_with_a_file(tmp_path):
    table().to_csv(tmp_path/'t.csv', index=False)
    page = App(tmp_path/'t.csv', 'a', tmp_path)
    assert (page.state()['Open']['table'], page.state()['Choose']['target'], page.state()['Choose']['task']) == ('t.csv', 'a', 'regression')
    assert said(App(tmp_path/'nothing.csv', folder=tmp_path), 'no file')

@pytest.mark.parametrize('model, target', [('RandomForest', 'label'), ('HistGradientBoosting', 'number')], ids=['classes', 'numbers'])
def test_another_model_goes_the_whole_way(model, target, page, tmp_path):
    d = table().assign(number=lambda d: d.a * 3 + d.b)
    page.session.open_table(d, 't.csv'); page.session.form.target.value = target
    s = run(page, model_name=model)
    r, judge, use = page.session.result, page.steps['Judge'], page.steps['Use']
    assert (s['step'], s['Watch']['error'], r.choices.arguments()['model_name']) == ('Judge', None, model) and said(page, f'{model} was fitted on 45 rows')
    judge.importance.compute(); judge.importance.wait(60); assert judge.importance.state()['a'] > judge.importance.state().get('b', 0)
    assert {'Mitra'} <= {*judge.other_models.boxes} and model not in judge.other_models.boxes
    report, script = (use.take_home.content(k).decode() for k in ('Report', 'Script'))
    assert f"model_name='{model}'" in script and model in report
    use.write_button.click(); use.list_files(); use.open_button.click(); use.test_button.click(); use.wait(60)
    assert page.session.pipe is not r.pipe and np.allclose(page.session.pipe.predict(r.X_test) == r.pipe.predict(r.X_test), True)
    page.session.form.set(model_name='Mitra'); page.steps['Remember'].list.value = [next(iter(page.steps['Remember'].runs))]
    page.steps['Remember'].restore_button.click(); assert page.session.form.form_state() == r.choices
