"What users meet when they go from one part of TabTune to another: other models, students, the command line, the app."
import logging

import numpy as np
import pandas as pd
import pytest

import tabtune
from tabtune import Student, TabularPipeline, check_table
from tabtune.cli import main
from tabtune.core.shapes import CheckpointError, InputError
from tabtune.training.recommend import recommend

X = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 2)).round(3), columns=['a', 'b'])
LABELS, NUMBERS = pd.Series(np.where(X.a > 0, 'yes', 'no'), name='y'), (2 * X.a).rename('y')
SMALL = dict(model_params=dict(d_model=32, num_layers=1))

@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    "A pipeline, its student, a forest and one for numbers, each in a file, and the table."
    folder = tmp_path_factory.mktemp('saved')
    pipe, numbers = TabularPipeline(**SMALL).fit(X, LABELS), TabularPipeline(task_type='regression').fit(X, NUMBERS)
    made = dict(pipe=pipe, student=pipe.distill(n_rows=300, report=False), number_student=numbers.distill(n_rows=300, report=False),
                forest=TabularPipeline('random forest').fit(X, LABELS), numbers=TabularPipeline('random forest', task_type='regression').fit(X, NUMBERS))
    for name, m in made.items(): m.save(folder / f'{name}.tabtune')
    X.assign(y=LABELS).to_csv(folder / 'classes.csv', index=False); X.assign(y=NUMBERS).to_csv(folder / 'numbers.csv', index=False)
    return made | dict(folder=folder)

@pytest.mark.parametrize('name', ['student', 'number_student', 'forest', 'numbers'])
def test_the_command_line_takes_whatever_was_saved(saved, name, capsys):
    "Predictions are those of the object itself; a number without an interval has none."
    csv = saved['folder'] / ('numbers.csv' if 'number' in name else 'classes.csv')
    main(['predict', f"{saved['folder']}/{name}.tabtune", str(csv), '--out', f"{saved['folder']}/{name}-out.csv"])
    found = pd.read_csv(saved['folder'] / f'{name}-out.csv')
    assert list(found) == ['prediction'] + ([] if 'number' in name else ['probability_no', 'probability_yes'])
    expected = saved[name].predict(X)
    if 'number' in name: np.testing.assert_allclose(found.prediction, expected, rtol=1e-5)
    else: assert list(found.prediction) == list(expected)
    main(['evaluate', f"{saved['folder']}/{name}.tabtune", str(csv)])
    assert ('r2' if 'number' in name else 'accuracy') in capsys.readouterr().out

def test_a_student_and_a_pipeline_say_what_they_are(saved):
    with pytest.raises(CheckpointError, match='holds a student, not a pipeline: open it with Student.load'): TabularPipeline.load(saved['folder'] / 'student.tabtune')
    with pytest.raises(CheckpointError, match='holds a pipeline, not a student: open it with TabularPipeline.load'): Student.load(saved['folder'] / 'pipe.tabtune')

def test_the_importance_of_another_model_needs_no_method(saved, caplog):
    values = saved['forest'].feature_importance(X, LABELS)
    assert (values.name, values.index[0], caplog.text) == ('permutation', 'a', '')
    assert saved['pipe'].feature_importance(X).name == 'attention'
    with pytest.raises(InputError, match='the model of this pipeline is random forest'): saved['forest'].similar_rows(X[:1])

@pytest.mark.parametrize('name, ask, words', [('forest', 'predict_interval', 'is for a regression'), ('numbers', 'predict_set', 'has no classes')])
def test_a_wrong_task_is_reported_before_a_wrong_model(saved, name, ask, words):
    "Fitting Mitra would not help."
    with pytest.raises(InputError, match=words): getattr(saved[name], ask)(X)

def test_errors_of_the_command_line_are_one_line(saved, capsys):
    with pytest.raises(SystemExit): main(['predict', f"{saved['folder']}/pipe.tabtune", str(pd.DataFrame(dict(c=[1])).to_csv(saved['folder'] / 'c.csv') or saved['folder'] / 'c.csv')])
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 1 and '2 of 2 columns are missing' in err[0]

def test_reasons_are_whole():
    r = recommend(X, LABELS)
    assert [why for *_, why in r.reasons if why not in repr(r)] == []

@pytest.mark.parametrize('name', ['id', 'ID', 'Customer ID', 'Row', 'customer_id', 'orderID'])
def test_identifiers_are_found_by_name(name):
    "Also where a row was left out, so that the numbers have a gap."
    t = X.assign(**{name: np.r_[0:40, 41:81] + 1000})
    assert [f.column for f in check_table(t, LABELS) if f.kind == 'identifier'] == [name]

def test_the_app_predicts_with_another_model_without_intervals(saved, tmp_path):
    use = tabtune.app(folder=tmp_path).steps['Use']
    use.open_model('numbers.tabtune', (saved['folder'] / 'numbers.tabtune').read_bytes)
    assert 'without an interval' in use.about.value and use.coverage.layout.display == 'none'
    use.predict(lambda: X, 'new.csv'); use.wait(600)
    assert use.state()['columns'] == ['a', 'b', 'prediction'], use.message.value

def test_a_new_table_starts_with_quick_and_says_so(tmp_path, caplog):
    page = tabtune.app(folder=tmp_path); form = lambda: page.session.form
    page.session.open_table(X.assign(y=LABELS), 't'); page.steps['Choose'].level.value = 'Better'
    assert form().form_state().strategy != 'inference'
    page.session.change(page.session.df[:70], 'less', ['df = df[:70]']); assert page.steps['Choose'].level.value == 'Better'
    page.session.open_table(X.assign(y=LABELS), 'u')
    assert (page.steps['Choose'].level.value, form().form_state().strategy) == ('Quick', 'inference')
    with caplog.at_level(logging.WARNING): form().set(d_model=32, num_layers=1); form().start(); form().wait(600)
    assert page.state()['Watch']['status'] == 'finished' and 'unused' not in caplog.text
