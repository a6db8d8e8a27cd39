"Sets of classes and intervals hold the truth as often as they promise; the report, and predictions at a chosen risk."
import warnings

import numpy as np
import pandas as pd
import pytest

from tabtune import MitraClassifier, TabularPipeline
from tabtune.core.shapes import ConfigError, InputError
from tabtune.estimators.uncertainty import abstain_above, set_thresholds

N_TEST, TABLES = 400, 12

def blobs(seed, n, k, rare=0., width=1.7):
    "A table with `k` overlapping classes, each rarer than the one before by exp(-rare)."
    rng = np.random.default_rng(seed)
    share = np.exp(-rare * np.arange(k)); y = rng.choice(k, n, p=share / share.sum())
    return 2 * np.random.default_rng(k).normal(size=(k, 3))[y] + width * rng.normal(size=(n, 3)), y

def spread_of_the_mean(n, coverage):
    "The standard deviation of the mean coverage of `TABLES` tables of `n` rows with `N_TEST` test rows."
    return np.sqrt(coverage * (1 - coverage) * (1 / (n + 2) + 1 / N_TEST) / TABLES)

def coverages(sets, y): return np.mean([t in s for s, t in zip(sets, y)])

TABLES_OF_CLASSES = dict(small=dict(n=40, k=2, width=4.), many_classes=dict(n=150, k=12), rare_classes=dict(n=200, k=6, rare=0.7, width=3.))

@pytest.mark.parametrize('kind', TABLES_OF_CLASSES)
def test_sets_cover_as_often_as_asked(kind):
    of = dict(TABLES_OF_CLASSES[kind]); n, asked = of.pop('n'), [0.75, 0.9]
    found = []
    for seed in range(TABLES):
        X, y = blobs(100 + seed, n + N_TEST, **of)
        est = MitraClassifier('small', experts=None, max_support=n).fit(X[:n], y[:n])
        found.append([coverages(est.predict_set(X[n:], c), y[n:]) for c in asked])
    for c, mean in zip(asked, np.mean(found, 0)):
        assert mean > c - 3 * spread_of_the_mean(n, c), (c, mean)
        assert mean < c + 3 * spread_of_the_mean(n, c) + 0.05, (c, mean)  # the support is larger than in the folds, and no set is empty

def test_sets_by_class_cover_the_rare_ones():
    hit = {False: [], True: []}
    for seed in range(4):
        X, y = blobs(seed, 300 + N_TEST, 3, rare=1.2, width=2.)
        est = MitraClassifier('small', experts=None).fit(X[:300], y[:300])
        for by, out in hit.items(): out += [*zip(y[300:], (t in s for s, t in zip(est.predict_set(X[300:], by_class=by), y[300:])))]
    mean = {by: pd.DataFrame(out).groupby(0)[1].mean() for by, out in hit.items()}
    assert mean[True].min() > 0.82 and mean[True].min() > mean[False].min() + 0.05, mean

@pytest.mark.parametrize('weight', [pytest.param(None, id='as_they_are'), pytest.param('balanced', id='balanced')])
def test_sets_follow_class_weights(weight):
    X, y = blobs(3, 700, 3, rare=1.)
    est = MitraClassifier('small', class_weight=weight).fit(X[:200], y[:200])
    mask, proba = est.predict_set(X[200:], output='mask'), est.predict_proba(X[200:])
    assert coverages(est.predict_set(X[200:]), y[200:]) > 0.85
    assert (mask[np.arange(500), proba.argmax(1)]).all()
    assert proba[mask].min() > proba[~mask].max() or mask.sum(1).min() == 1

def test_classes_that_one_row_shows_count_as_missed():
    p, codes = np.full((9, 2), 0.5), np.zeros(9, dtype=int)
    assert set_thresholds(p, codes, 0.9).tolist() == [0.5, 0.5]
    assert set_thresholds(p, codes, 0.9, missed=1).tolist() == [0., 0.]
    X, y = blobs(0, 60, 2); y = np.r_[y[:50], np.arange(100, 110)]  # ten of sixty rows are alone in their class
    est = MitraClassifier('small').fit(X, y)
    assert est.predict_set(X[:5], 0.9, output='mask').all()
    assert not est.predict_set(X[:5], 0.5, output='mask').all()

@pytest.mark.parametrize('coverage', [pytest.param(c, id=str(c).replace('.', '_').replace('-', 'minus_')) for c in (0, 1, -0.1, 1.5, float('nan'), 'much', True)])
@pytest.mark.parametrize('of', ['sets', 'intervals', 'report'])
def test_coverage_must_lie_between_0_and_1(fitted, coverage, of):
    classes, numbers, X, y = fitted
    call = dict(sets=lambda: classes.predict_set(X, coverage), intervals=lambda: numbers.predict_interval(X, coverage),
                report=lambda: classes.uncertainty_report(X, y, coverage))[of]
    with pytest.raises(ConfigError, match='coverage='): call()

@pytest.fixture(scope='module')
def fitted():
    "Two pipelines of 60 rows, and their table."
    X, y = blobs(1, 60, 2)
    return (TabularPipeline(model_params=dict(pretrained='small')).fit(X, y),
            TabularPipeline(task_type='regression').fit(X, X[:, 0] + y), X, y)

def test_too_few_rows_are_reported(fitted):
    classes, numbers, X, y = fitted
    with pytest.raises(InputError, match='takes 99 held-out rows, and this table has 60: ask for 0.984 or less'): classes.predict_set(X, 0.99)
    with pytest.warns(UserWarning, match='takes 99 rows that are held out, and there are 60'): numbers.predict_interval(X, 0.99)
    few = TabularPipeline(model_params=dict(pretrained='small')).fit(X[:6], ['a', 'b'] * 3)
    with pytest.raises(InputError, match='takes 9 held-out rows, and this table has 6'): few.predict_set(X)
    alone = TabularPipeline(model_params=dict(pretrained='small')).fit(X[:3], list('abc'))
    with pytest.raises(InputError, match='too few rows to hold any out'): alone.predict_set(X)
    with warnings.catch_warnings(): warnings.simplefilter('ignore'); one = TabularPipeline().fit(X[:3], ['a'] * 3)
    assert [s.tolist() for s in one.predict_set(X[:2])] == [['a']] * 2

def test_wrong_task_is_reported(fitted):
    classes, numbers, X, y = fitted
    with pytest.raises(InputError, match='predict_interval'): numbers.predict_set(X)
    with pytest.raises(InputError, match='predict_set'): classes.predict_interval(X)

@pytest.mark.parametrize('suffix', ['tabtune', 'joblib'])
def test_a_saved_pipeline_gives_the_same_sets(tmp_path, suffix):
    X, y = blobs(2, 400, 3)
    from sklearn.linear_model import LogisticRegression, Ridge
    pipe = TabularPipeline(model_params=dict(pretrained='small', experts=[LogisticRegression()])).fit(X[:150], y[:150])
    again = TabularPipeline.load(pipe.save(tmp_path/f'p.{suffix}'))
    assert [s.tolist() for s in again.predict_set(X[150:])] == [s.tolist() for s in pipe.predict_set(X[150:])]
    assert again.predict_or_abstain(X[150:], 0.2).tolist() == pipe.predict_or_abstain(X[150:], 0.2).tolist()
    numbers = TabularPipeline(task_type='regression', model_params=dict(experts=[Ridge()])).fit(X[:150], y[:150] + X[:150, 1])
    again = TabularPipeline.load(numbers.save(tmp_path/f'n.{suffix}'))
    np.testing.assert_array_equal(again.predict_or_abstain(X[150:], 0.5), numbers.predict_or_abstain(X[150:], 0.5))

def test_sets_follow_another_model_and_another_fit():
    X, y = blobs(5, 300, 3)
    pipe = TabularPipeline(model_params=dict(pretrained='small')).fit(X[:100], y[:100])
    pipe.predict_set(X[200:])
    pipe.fit(X[:200], y[:200] % 2)
    assert {*np.concatenate(pipe.predict_set(X[200:]))} == {0, 1}
    first = pipe.estimator_._held_out()[1]
    from tabtune import load_checkpoint
    pipe.use_model(load_checkpoint('medium'))
    assert np.abs(first - pipe.estimator_._held_out()[1]).max() > 1e-4

def test_answers_keep_the_risk_on_new_tables():
    wrong, given = [], []
    for seed in range(TABLES):
        X, y = blobs(seed, 200 + N_TEST, 3)
        pipe = TabularPipeline(model_params=dict(pretrained='small')).fit(X[:200], y[:200])
        answer = pipe.predict_or_abstain(X[200:], 0.1)
        given.append(np.mean(answer != None)); wrong.append(np.mean((answer != y[200:])[answer != None]) if given[-1] else 0)  # noqa: E711
    assert np.mean(wrong) < 0.1 + 3 * np.sqrt(0.1 * 0.9 / 150 / TABLES), wrong
    assert 0.3 < np.mean(given) < 0.98, given

def test_report_of_numbers_and_groups():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(500, 3)), columns=list('abc')).assign(town=rng.choice(['Oslo', 'Rome'], 500))
    y = X.a + rng.normal(size=500)
    pipe = TabularPipeline(task_type='regression').fit(X[:150], y[:150])
    report = pipe.uncertainty_report(X[150:], y[150:], 0.8, groups='town')
    low, high = report['expected']
    assert low <= report['coverage'] <= high and report['rows'] == 350 and report['held_out_rows'] == 150, report
    assert report['by_group'].rows.to_dict() == X.town[150:].value_counts().to_dict()
    assert abs(report['risk'].risk.iloc[-1] - np.abs(pipe.predict(X[150:]) - y[150:]).mean()) < 1e-9
    by_hand = pipe.uncertainty_report(X[150:], y[150:], 0.8, groups=X.town[150:].to_numpy())['by_group']
    pd.testing.assert_frame_equal(by_hand, report['by_group'])

def test_a_label_that_fit_never_saw_is_not_covered():
    X, y = blobs(1, 120, 2)
    pipe = TabularPipeline(model_params=dict(pretrained='small')).fit(X[:60], y[:60])
    with pytest.warns(UserWarning, match='never saw'): report = pipe.uncertainty_report(X[60:], np.r_[[7] * 30, y[90:]], 0.9)
    assert report['by_class'].coverage['7'] == 0 and report['by_class'].below['7'], report['by_class']

def test_equally_unsure_rows_are_answered_together():
    assert abstain_above(np.array([0., 0, 1, 1]), np.array([0., 0, 0, 1]), 1., 0.35) == 0.
    assert abstain_above(np.zeros(0), np.zeros(0), 1., 0.5) == -np.inf

def test_intervals_by_group_cover_the_group_with_more_noise():
    found = {None: [], 'shift': []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        t = pd.DataFrame(rng.normal(size=(300 + N_TEST, 2)), columns=['a', 'b']).assign(shift=rng.choice(['day', 'night'], 300 + N_TEST, p=[0.7, 0.3]))
        y = t.a + np.where(t['shift'] == 'day', 0.1, 1.) * rng.normal(size=len(t))
        pipe = TabularPipeline(task_type='regression').fit(t[:300], y[:300])
        for by, out in found.items():
            low, high = pipe.predict_interval(t[300:], 0.9, by=by).T
            out.append(pd.Series((low <= y[300:]) & (y[300:] <= high)).groupby(t['shift'][300:]).mean().to_dict() | dict(width=(high - low).mean()))
    alone, each = (pd.DataFrame(out).mean() for out in found.values())
    assert each.night > 0.83 > alone.night + 0.08 and each.day > 0.85 and each.width < alone.width, (alone, each)

def test_groups_that_are_no_groups(tmp_path):
    X, y = blobs(0, 260, 3)
    t = pd.DataFrame(X, columns=list('abc')).assign(town=pd.Series(['Oslo'] * 200 + ['Rome'] * 4 + [None] * 56))
    pipe = TabularPipeline(model_params=dict(pretrained='small')).fit(t[:230], y[:230])
    sets = pipe.predict_set(t[230:].assign(town='Lima'), by='town', output='mask')  # a level that nobody knows shares the rest's
    assert sets.any(1).all() and TabularPipeline.load(pipe.save(tmp_path/'p.tabtune')).predict_set(t[230:].assign(town='Lima'), by='town', output='mask').tolist() == sets.tolist()
    for by, words in dict(a='must name a category', twn="did you mean 'town'").items():
        with pytest.raises(ConfigError, match=words): pipe.predict_set(t, by=by)
    with pytest.raises(InputError, match='give one of them'): pipe.predict_set(t, by='town', by_class=True)
