"Scores against scikit-learn and against plain loops, for labels of all sorts. The notebook estimators/00_metrics explains; this file is the dull part."
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn import metrics as skm

from tabtune.estimators.metrics import calibration_metrics, classification_metrics, fairness_metrics, plot_confusion, plot_reliability, plot_roc
from tabtune.core.shapes import ConfigError, InputError

def draw(classes, n=300, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(len(classes)), n)
    return np.asarray(classes)[[rng.choice(len(classes), p=q) for q in p]], p

@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('classes', [
    pytest.param([0, 1], id='two integers'), pytest.param(['no', 'yes'], id='two strings'), pytest.param([False, True], id='booleans'),
    pytest.param([3, 5, 7], id='three integers'), pytest.param(['a', 'b', 'c', 'd'], id='four strings'),
    pytest.param(list(range(12)), id='twelve integers'), pytest.param([1., 2.], id='floats')])
def test_against_sklearn(classes):
    y, p = draw(classes)
    h, w = np.asarray(classes)[p.argmax(1)], dict(average='weighted', zero_division=0)
    two = len(classes) == 2
    want = dict(accuracy=skm.accuracy_score(y, h), f1_score=skm.f1_score(y, h, **w), precision=skm.precision_score(y, h, **w), recall=skm.recall_score(y, h, **w),
        mcc=skm.matthews_corrcoef(y, h), log_loss=skm.log_loss(y, p), roc_auc_score=skm.roc_auc_score(y, p[:, 1]) if two else skm.roc_auc_score(y, p, multi_class='ovr'),
        balanced_accuracy=skm.balanced_accuracy_score(y, h),
        brier_score=skm.brier_score_loss(y, p[:, 1], pos_label=classes[1]) if two else np.mean(((p - (y[:, None] == np.asarray(classes))) ** 2).sum(1)))
    for form in (y, list(y), pd.Series(y), pd.Series(y).astype('category'), pd.Series(y).convert_dtypes()):
        got = classification_metrics(form, p, classes)
        assert 0 <= got.pop('ece') <= 1  # scikit-learn has none
        assert got == pytest.approx(want, abs=1e-9) and {type(v) for v in got.values()} == {float}
    single = classification_metrics(y, p.astype(np.float32), np.array(classes))
    assert {k: single[k] for k in want} == pytest.approx(want, abs=1e-4)

def test_zero_probability_is_clipped_as_in_sklearn():
    for dtype in (np.float32, np.float64):
        p = np.array([[1, 0], [0, 1], [.5, .5]], dtype=dtype)
        assert classification_metrics([1, 1, 0], p, [0, 1])['log_loss'] == pytest.approx(skm.log_loss([1, 1, 0], p), rel=1e-6)
    assert classification_metrics([1, 0], np.array([[1, 0], [0, 1]]), [0, 1])['log_loss'] == pytest.approx(-np.log(np.finfo(float).eps))

def test_absent_class_and_single_class():
    y, p = draw(['a', 'b', 'c']); keep = y != 'b'
    assert classification_metrics(y[keep], p[keep], list('abc'))['roc_auc_score'] == pytest.approx(np.mean([skm.roc_auc_score(y[keep] == c, p[keep, i]) for i, c in ((0, 'a'), (2, 'c'))]))
    for q in (p, p[:1]):
        with pytest.warns(UserWarning, match='one class only') as seen: m = classification_metrics(['a'] * len(q), q, list('abc'))
        assert len(seen) == 1 and np.isnan(m['roc_auc_score']) and m['mcc'] == 0 and np.isfinite(m['log_loss'])
    with pytest.warns(UserWarning, match='one class only'): m = classification_metrics([4, 4], np.ones((2, 1)), [4])
    assert m['accuracy'] == 1 and m['brier_score'] == 0 and m['log_loss'] < 1e-9

def test_unseen_labels_count_as_wrong():
    y, p = draw(['a', 'b', 'c']); y = y.astype(object); y[:30] = 'z'
    with pytest.warns(UserWarning, match=r"30 of 300 rows .*\['z'\]") as seen: m = classification_metrics(y, p, list('abc'))
    assert len(seen) == 1
    h = np.array(list('abc'))[p.argmax(1)]
    assert m['accuracy'] == np.mean(y == h) and m['recall'] == pytest.approx(skm.recall_score(list(y), h, average='weighted', zero_division=0))
    assert m['roc_auc_score'] == pytest.approx(skm.roc_auc_score(list(y[30:]), p[30:], multi_class='ovr'))
    with pytest.warns(UserWarning): c = calibration_metrics(y, p, list('abc'))
    assert c['bins'].rows.sum() == 300
    with pytest.warns(UserWarning): ax = plot_confusion(y, p, list('abc'), ax=Figure().subplots())
    shown = np.array([int(t.get_text()) for t in ax.texts]).reshape(4, 4)
    assert shown[3].sum() == 30 and shown[:, 3].sum() == 0 and ax.get_yticklabels()[3].get_text() == '(never seen)'
    with pytest.raises(InputError, match='no label in y_true'): classification_metrics(['z'] * 300, p, list('abc'))

@pytest.mark.parametrize('proba,text', [
    pytest.param(np.ones((3, 2)), 'rows do not', id='ones'), pytest.param(np.full((3, 2), np.nan), 'rows do not', id='NaN'),
    pytest.param(np.array([[2., -1]] * 3), 'rows do not', id='negative'),
    pytest.param(np.full((3, 3), 1 / 3), r'\(3, 2\)', id='too many classes'),
    pytest.param(np.full((2, 2), .5), '3 labels for 2 rows', id='too few rows'),
    pytest.param(np.full(3, .5), r'\(3, 2\)', id='1d array')])
def test_not_probabilities(proba, text):
    with pytest.raises(InputError, match=text): classification_metrics([0, 1, 0], proba, [0, 1])

def test_missing_labels():
    with pytest.raises(InputError, match='1 of 2 labels are missing'): classification_metrics([0, None], np.full((2, 2), .5), [0, 1])

@pytest.mark.parametrize('n_bins', [1, 4, 10, 50])
def test_calibration(n_bins):
    y, p = draw(['a', 'b'], n=500); m = calibration_metrics(y, p, ['a', 'b'], n_bins)
    right, conf, gaps = y == np.array(['a', 'b'])[p.argmax(1)], p.max(1), []
    for i in range(n_bins):
        rows = (conf > i / n_bins) & (conf <= (i + 1) / n_bins)
        if rows.any(): gaps.append((rows.sum(), abs(right[rows].mean() - conf[rows].mean())))
    assert m['ece'] == pytest.approx(sum(n * g for n, g in gaps) / 500) and m['mce'] == pytest.approx(max(g for _, g in gaps))
    assert len(m['bins']) == n_bins and m['bins'].rows.sum() == 500 and m['brier_score'] == classification_metrics(y, p, ['a', 'b'])['brier_score']

def test_calibration_ends():
    m = calibration_metrics([0, 1], np.eye(2), [0, 1])
    assert m['ece'] == m['mce'] == 0 and m['bins'].rows.iloc[-1] == 2
    for n in (0, 2.5, 'a'):
        with pytest.raises(ConfigError, match='n_bins='): calibration_metrics([0, 1], np.eye(2), [0, 1], n)

def test_fairness():
    y, p = draw([0, 1]); g = np.random.default_rng(1).choice(['f', 'm', None], 300); h = p.argmax(1)
    f = fairness_metrics(pd.Series(y, index=range(300, 600)), p, [0, 1], pd.Series(g, index=range(7, 307)))
    groups = [g == 'f', g == 'm', np.array([v is None for v in g])]
    spread = lambda f: np.ptp([f(m) for m in groups])
    assert set(f['by_group'].index.get_level_values('group')) == {'f', 'm', 'missing'} and f['by_group'].rows.sum() == 300
    assert f['demographic_parity'] == pytest.approx(spread(lambda m: h[m].mean()))
    assert f['equalised_odds'] == pytest.approx(max(spread(lambda m: h[m & (y == 1)].mean()), spread(lambda m: h[m & (y == 0)].mean())))
    assert f['accuracy'] == pytest.approx(spread(lambda m: (h == y)[m].mean()))
    assert fairness_metrics(y, p, [0, 1], ['all'] * 300)['equalised_odds'] == 0
    f = fairness_metrics([1, 0, 1], np.eye(2)[[1, 0, 0]], [0, 1], [0, 0, 1])  # group 1 has no negatives
    assert np.isnan(f['by_group'].loc[('1', 1), 'false_positive']) and f['equalised_odds'] == 1

def test_plots():
    y, p = draw(['a', 'b']); ax = Figure().subplots()
    assert plot_roc(y, p, ['a', 'b'], ax=ax) is ax and len(ax.get_lines()) == 2
    assert f"{skm.roc_auc_score(y, p[:, 1]):.2f}" in ax.get_legend().get_texts()[0].get_text()
    assert 'ECE' in plot_reliability(y, p, ['a', 'b'], ax=Figure().subplots()).get_legend().get_texts()[1].get_text()
    assert plot_reliability(['a', 'b'], np.eye(2), ['a', 'b'], ax=Figure().subplots()) is not None  # all right
    total = sum(float(t.get_text()) for t in plot_confusion(y, p, ['a', 'b'], normalize='all', ax=Figure().subplots()).texts)
    assert total == pytest.approx(1, abs=.03)
    import matplotlib.pyplot as plt
    before = len(plt.get_fignums()); plot_roc(y, p, ['a', 'b']); assert len(plt.get_fignums()) == before + 1
    plt.close('all')
    with warnings.catch_warnings(): warnings.simplefilter('error'); plot_roc(*draw(['a', 'b', 'c']), ['a', 'b', 'c'], ax=Figure().subplots())
