"What `check_table` finds, each with the right column and no other, and what `fit` says by itself."
import logging, warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import cross_val_score

from tabtune import MitraClassifier, TabularPipeline, check_table
from tabtune.core.shapes import ConfigError, InputError
from tabtune.data.checkup import TableFinding, TableFindings

N = 200
rng = np.random.default_rng(0)
LABELS = np.where(rng.random(N) < .4, 'yes', 'no')

def ordinary():
    r = np.random.default_rng(1)
    return pd.DataFrame(dict(age=r.integers(18, 90, N), pay=r.lognormal(7, 1, N).round(2), town=r.choice(['Ulm', 'Bonn', 'Rom'], N),
                             member=r.random(N) < .5, since=pd.Timestamp('2020') + pd.to_timedelta(r.integers(0, 900, N), 'D'), rooms=r.integers(1, 7, N)))

COLUMNS = dict(  # what is added as column `c` -> the finding
    uuid=([f'{v:08x}-{v % 977:04x}' for v in rng.choice(2 ** 31, N, replace=False)], 'identifier'), row_numbers=(rng.permutation(N) + 1000, 'identifier'),
    constant=(7, 'constant'), all_missing=(None, 'constant'), copy=(ordinary().age * 2.54 - 3, 'duplicate column'),
    relabelled=(ordinary().town.map(dict(Ulm='x', Bonn='y', Rom='z')), 'duplicate column'), mostly_missing=(np.where(rng.random(N) < .7, np.nan, rng.random(N)), 'many missing'),
    minus_999=(np.where(rng.random(N) < .05, -999, rng.normal(50, 9, N)), 'missing code'), nines=(np.where(rng.random(N) < .05, 9999, rng.integers(0, 300, N)), 'missing code'),
    leak=(np.where(LABELS == 'yes', 3., 1.) + .1 * rng.random(N), 'gives the target away'), leaky_text=(np.where(LABELS == 'yes', 'paid', 'open'), 'gives the target away'),
    mixed=([str(v) if i % 4 else f'suite {v}' for i, v in enumerate(rng.integers(0, 999, N))], 'mixed types'))

@pytest.mark.parametrize('name', COLUMNS)
def test_a_column_is_found_out(name):
    cells, kind = COLUMNS[name]
    found = check_table(ordinary().assign(c=cells), LABELS)
    assert [(f.column, f.kind) for f in found] == [('c', kind)] and isinstance(found, TableFindings) and isinstance(found[0], TableFinding)
    assert all(getattr(found[0], k) for k in ('reason', 'treatment', 'code')) and 'c' in found.to_frame().column.tolist()

def test_an_ordinary_table_raises_no_alarm(caplog):
    X = ordinary()
    assert check_table(X, LABELS, X_test=X.sample(60, random_state=0).assign(pay=np.random.default_rng(2).lognormal(7, 1, 60))) == []
    with warnings.catch_warnings(action='error'), caplog.at_level(logging.WARNING): MitraClassifier('small').fit(X, LABELS)
    assert not caplog.records

def test_a_cross_validation_hears_of_an_identifier_once(caplog):
    X = ordinary().assign(ticket=COLUMNS['uuid'][0])
    with caplog.at_level(logging.WARNING):
        for rows in (slice(None, 150), slice(50, None)): assert MitraClassifier('small').fit(X[rows], LABELS[rows]).findings_[0].column == 'ticket'
    assert sum('ticket: identifier' in r.getMessage() for r in caplog.records) == 1

def test_codes_whose_prefix_tells_the_target_are_no_identifiers(caplog):
    X = ordinary().assign(code=[f'{"AC" if v == "yes" else "BD"}-{i}' if i % 9 else f'AB-{i}' for i, v in enumerate(LABELS)])
    with caplog.at_level(logging.WARNING): MitraClassifier('small').fit(X, LABELS)
    assert not caplog.records
    assert [f.kind for f in check_table(X, LABELS) if f.kind == 'identifier'] == []

def test_two_labels_that_are_numbers_are_classes():
    X = ordinary()
    assert check_table(X, np.where(LABELS == 'yes', '1.0', '0.0')) == []

def test_rows_and_splits():
    X, half = ordinary(), N // 2
    twice, both = pd.concat([X[:half]] * 2), np.repeat(['a', 'b'], half)
    assert 'same rows, different labels' in [f.kind for f in check_table(twice, both)]
    assert [f.kind for f in check_table(X, LABELS, X_test=X[::3])] == ['test rows in training']
    later = check_table(X, LABELS, X_test=X.sample(150, random_state=0).assign(age=lambda t: t.age + 30, pay=lambda t: t.pay * 1.01))
    assert [(f.column, f.kind) for f in later] == [('age', 'drift')]

@pytest.mark.parametrize('y, kind', [(np.r_[['rare'] * 2, ['a'] * 98, ['b'] * 100], 'rare classes'), (np.r_[['few'] * 7, ['a'] * 193], 'imbalance'),
    (np.r_[['yes'] * 90, ['Yes '] * 10, ['no'] * 100], 'labels alike'), ([f'€{v:.2f}' for v in rng.lognormal(3, 1, N)], 'near-unique labels'),
    (list(rng.permutation(pd.date_range('2023', periods=N).astype(str))), 'near-unique labels'), ([f'user{v}' for v in rng.permutation(N)], 'near-unique labels'),
    ([f'{v:.1f}' for v in rng.integers(2, 12, N) / 2], 'numbers as text')],
    ids=['rare', 'imbalance', 'alike', 'currency', 'dates', 'ids', 'half-points'])
def test_labels_are_looked_at(y, kind):
    assert kind in [f.kind for f in check_table(ordinary(), y, task='classification')]

def test_fit_says_what_is_serious_once(caplog, tmp_path):
    X = ordinary().assign(closed=COLUMNS['leak'][0], order=COLUMNS['uuid'][0], odd=COLUMNS['minus_999'][0])
    with caplog.at_level(logging.WARNING): pipe = TabularPipeline(model_params=dict(pretrained='small')).fit(X, LABELS)
    said, = [r.getMessage() for r in caplog.records if r.name == 'tabtune']
    assert 'closed: gives the target away' in said and 'order: identifier' in said and 'odd' not in said
    assert len(pipe.describe()['findings']) == 2
    assert TabularPipeline.load(pipe.save(tmp_path / 'p.tabtune')).describe() == pipe.describe()

def test_labels_for_each_row_are_no_sign_that_a_column_tells_them():
    with warnings.catch_warnings(action='ignore'): est = MitraClassifier('small', experts=None).fit(ordinary()[:80], [f'user{v}' for v in range(80)])
    assert est.findings_ == []
    assert 'labels alike' in [f.kind for f in check_table(ordinary(), np.where(LABELS == 'yes', 'Köln', np.where(rng.random(N) < .5, 'Ko\u0308ln', 'Ulm')))]

DECISIONS = dict(  # settings of an estimator -> the columns that `fit` still speaks of
    nothing=({}, {'closed', 'order'}), kind=(dict(column_types=dict(order='category')), {'closed'}), nested=(dict(column_types__order='text'), {'closed'}), steps=(dict(processor_params=dict(scaling_strategy='robust')), {'closed', 'order'}),
    selection=(dict(processor_params=dict(feature_selection_strategy='anova', n_features=1)), {'closed'}))

@pytest.mark.parametrize('choice', DECISIONS)
def test_fit_is_silent_about_what_was_decided(choice):
    settings, columns = DECISIONS[choice]
    with warnings.catch_warnings(action='ignore'):
        est = MitraClassifier('small', experts=None).set_params(**settings).fit(ordinary().assign(closed=COLUMNS['leak'][0], order=COLUMNS['uuid'][0]), LABELS)
    assert {f.column for f in est.findings_} == columns

def test_the_folds_of_a_cross_validation_say_it_once(caplog):
    X = ordinary().assign(order_of_the_folds=COLUMNS['uuid'][0])
    with caplog.at_level(logging.WARNING), warnings.catch_warnings(action='ignore'):
        cross_val_score(MitraClassifier('small', experts=None), X, LABELS, cv=3)
    assert [r.getMessage().count('identifier') for r in caplog.records if 'order_of_the_folds' in r.getMessage()] == [1]

@pytest.mark.parametrize('y, words', [(['yes', 'yes ', 'no', 'no'] * 50, r"labels alike: \['yes', 'yes '\]"), ([f'${v:,.2f}' for v in rng.lognormal(7, 1, N)], 'looks like a regression'),
    ([f'A-{v:x}' for v in rng.permutation(N)], 'looks like an identifier'), ([f'{v:.1f}' for v in rng.integers(2, 12, N) / 2], 'numbers as text')],
    ids=['alike', 'currency', 'ids', 'numbers'])
def test_fit_warns_of_labels(y, words):
    with pytest.warns(UserWarning, match=words): MitraClassifier('small').fit(ordinary(), y)

def test_class_weights_shift_the_prior_and_are_saved(tmp_path):
    X = ordinary()
    rare = np.where(X.age + X.rooms > 85, 'rare', 'usual')
    plain = MitraClassifier('small').fit(X, rare)
    pipe = TabularPipeline(model_params=dict(pretrained='small', class_weight='balanced')).fit(X, rare)
    share, p = np.mean(rare == 'rare'), plain.predict_proba(X)
    odds = p[:, 0] / p[:, 1] * (1 - share) / share
    assert np.allclose(pipe.predict_proba(X)[:, 0], odds / (1 + odds))
    assert (pipe.predict(X) == 'rare').sum() > (plain.predict(X) == 'rare').sum()
    assert np.array_equal(TabularPipeline.load(pipe.save(tmp_path / 'p.tabtune')).predict_proba(X), pipe.predict_proba(X))
    for wrong in ({'rar': 2}, {'rare': -1}, 'even'):
        with pytest.raises(ConfigError, match='class_weight'): MitraClassifier('small', class_weight=wrong).fit(X, rare)
    with pytest.raises(ConfigError, match='for classes'): TabularPipeline(task_type='regression', model_params=dict(class_weight='balanced')).fit(X, X.age)
    for est in (MitraClassifier('small'), TabularPipeline(), TabularPipeline(task_type='regression')):
        with pytest.raises(InputError, match='class_weight='): est.fit(X, rare, sample_weight=np.ones(N))

@pytest.mark.parametrize('label', [lambda v: f'{v:,.2f} €'.translate(str.maketrans(',.', '.,')), lambda v: f'${v:,.2f}', lambda v: f'{v:.2f} kg',
    lambda v: f'({v:,.2f})' if v > 900 else f'-{v:.2f}', lambda v: f'{v / 1000:.5f}k' if v > 900 else f'{v:.2f}'],
    ids=['decimal comma', 'dollar', 'unit', 'accounting minus', 'thousands'])
def test_the_line_that_makes_numbers_of_labels_does(label):
    amounts = np.round(rng.lognormal(7, 1, N), 2)
    given = dict(y=pd.Series([label(v) for v in amounts]), text=[label(amounts[0])])
    exec(check_table(pd.DataFrame(dict(a=np.arange(N) % 7)), given['y'])[0].code.rpartition('; ')[0], given)
    np.testing.assert_allclose(given['y'], -amounts if given['text'][0].startswith(('(', '-')) else amounts)
