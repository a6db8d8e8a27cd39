"Tables from other libraries, large tables, and tables on several workers."
import datetime as dt, subprocess, sys, warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_classification, make_moons
from sklearn.metrics import roc_auc_score

from tabtune import MitraClassifier, TabularPipeline, read_table
from tabtune.core.shapes import InputError

def small(n=80, seed=0):
    r = np.random.default_rng(seed)
    X = pd.DataFrame(dict(a=r.normal(size=n), b=r.choice(list('xyz'), n), c=r.integers(0, 9, n), d=r.random(n) < .5))
    return X, pd.Series(np.where(X.a + (X.b == 'x') > .3, 'yes', 'no'))

@pytest.fixture(scope='module')
def fitted():
    X, y = small()
    clf = MitraClassifier('small', device='cpu').fit(X, y)
    return clf, X, y, clf.predict_proba(X)

def forms(X, y):
    "The same table in many forms."
    pl, pa = pytest.importorskip('polars'), pytest.importorskip('pyarrow')
    p, a = pl.from_pandas(X), pa.Table.from_pandas(X)
    yield from [(p, pl.Series(y.tolist())), (p.lazy(), y), (a, pa.array(y.tolist())), (a, pa.chunked_array([y.tolist()[:30], y.tolist()[30:]])),
                (a.to_batches()[0], y), (p.with_columns(pl.col('b').cast(pl.Categorical)), y), (X.to_dict('list'), y.tolist()),
                (X.to_dict('records'), y.to_numpy()), (X.convert_dtypes(dtype_backend='pyarrow'), y.convert_dtypes(dtype_backend='pyarrow')),
                (X.convert_dtypes(), y.astype('category')), (X.astype(dict(b='category')), y), (X.astype(object), y.astype(object))]

def test_every_form_of_a_table_gives_the_same_bits(fitted):
    clf, X, y, want = fitted
    for X2, y2 in forms(X, y):
        again = MitraClassifier('small', device='cpu').fit(X2, y2)
        assert np.array_equal(again.predict_proba(X2), want) and again.predict(X2).tolist() == clf.predict(X).tolist(), type(X2)
        assert np.array_equal(clf.predict_proba(X2), want), type(X2)

def numpy_forms(X, y):
    "Numbers and text in NumPy's own forms, with missing cells."
    fields, missing = X.to_records(index=False), np.arange(len(X)) % 7 == 0
    yield fields, X
    yield np.ma.masked_array(X.to_numpy(dtype=object), mask=np.outer(missing, [1, 0, 0, 0])), X.assign(a=X.a.where(~missing))
    yield np.ma.masked_array(X[['a', 'c']].to_numpy(dtype=float), mask=np.outer(missing, [0, 1])), X[['a', 'c']].assign(c=X.c.where(~missing))

def test_numpy_arrays_with_fields_masks_and_objects(fitted):
    _, X, y, _ = fitted
    for A, same in numpy_forms(X, y):
        before = A.copy()
        clf = MitraClassifier('small', device='cpu').fit(A, y)
        with warnings.catch_warnings(action='ignore'): want = MitraClassifier('small', device='cpu').fit(same.to_numpy(dtype=object), y).predict_proba(same.to_numpy(dtype=object))
        assert np.array_equal(clf.predict_proba(A), want)
        assert np.ma.allequal(before, A) if isinstance(A, np.ma.MaskedArray) else (before == A).all()
    with pytest.raises(InputError, match='2 of 80 labels are missing, the first in row 3'):
        MitraClassifier('small').fit(X, np.ma.masked_array(np.arange(80) % 2, mask=np.isin(np.arange(80), [3, 5])))

ODD = dict(  # one cell after another, as often as it takes
    nested=[[1], [2, 3], None], dicts=[dict(a=1), {}, None], arrays=[np.zeros(2), np.ones(1)], bytes=[b'1', b'\xff', None], decimals=[Decimal('1.5'), Decimal('NaN'), Decimal('1e400')],
    mixed=[1, 'a', 2.5, None, pd.NaT, True], spans=[pd.Timedelta('1h'), pd.NaT], zones=[pd.Timestamp('2020', tz='UTC'), pd.Timestamp('2021', tz='Asia/Tokyo'), pd.Timestamp('2022')],
    first_and_last=[dt.date(1, 1, 1), dt.date(9999, 12, 31)], huge=[1e300, 1e-300, 5e-324, -1.7e308, np.inf, -np.inf], wide=[10 ** 400, -3], surrogates=['\ud800', 'a'], objects=[object(), 1j],
    period=pd.period_range('2020', periods=3, freq='Q'), interval=pd.interval_range(0, 3), category=pd.Categorical(['u', None, 'v'], list('uvwxyz')), Int64=pd.array([1, None, 3], dtype='Int64'),
    boolean=pd.array([True, None, False], dtype='boolean'), sparse=pd.arrays.SparseArray([0., 1., np.nan]), missing=[None], constant=[7])

def odd_table(n=60):
    "All of them at once."
    return pd.DataFrame({k: pd.Series(v, dtype=getattr(v, 'dtype', object)).iloc[np.arange(n) % len(v)].reset_index(drop=True) for k, v in ODD.items()})

def test_odd_columns_at_fit_and_only_at_predict_and_nothing_is_modified():
    X, y = odd_table(), np.arange(60) % 2
    before = X.copy(deep=True)
    p = MitraClassifier('small', device='cpu').fit(X, y).predict_proba(X)
    assert np.isfinite(p).all() and np.allclose(p.sum(1), 1)
    pd.testing.assert_frame_equal(X, before)
    plain = MitraClassifier('small', device='cpu').fit(X[[]].assign(**{k: np.arange(60) % 7 for k in X}), y)
    with pytest.warns(UserWarning, match="could not be read.*became missing"): p = plain.predict_proba(X)
    assert np.isfinite(p).all()
    for form in ('pyarrow', 'numpy_nullable'):
        t = X[['spans', 'Int64', 'boolean', 'missing', 'constant']].assign(nested=X.nested).convert_dtypes(dtype_backend=form)
        assert np.isfinite(MitraClassifier('small', device='cpu').fit(t, y).predict_proba(t)).all()

def test_arrow_lists_readers_and_repeated_names():
    pa = pytest.importorskip('pyarrow')
    nested = pd.DataFrame(dict(a=pd.array([[1], [2], None] * 10, dtype=pd.ArrowDtype(pa.list_(pa.int64())))))
    assert MitraClassifier('small', device='cpu').fit(nested, np.arange(30) % 3).predict(nested)[:2].tolist() == [0, 1]
    t = pa.table([pa.array(np.arange(30.) % 3), pa.array(np.zeros(30))], names=['a', 'a'])
    clf = MitraClassifier('small', device='cpu').fit(t, np.arange(30) % 3)
    assert list(clf.feature_names_in_) == ['a', 'a#2'] and clf.score(t, np.arange(30) % 3) == 1
    assert clf.predict(pa.RecordBatchReader.from_batches(t.schema, t.to_batches())).tolist() == clf.predict(t).tolist()

LABELS = dict(category=pd.Categorical(['u', 'v'] * 15, list('uvw')), boolean=pd.array([True, False] * 15, dtype='boolean'), Int64=pd.array([1, 2] * 15, dtype='Int64'),
    date=[dt.date(2020, 1, 1), dt.date(2021, 1, 1)] * 15, stamp=pd.Series(pd.to_datetime(['2020', '2021'] * 15)), bytes=[b'a', b'b'] * 15, empty=['', 'a'] * 15, half=np.float16([1, 2] * 15))

@pytest.mark.parametrize('kind', LABELS)
def test_labels_of_all_kinds_come_back_and_are_scored(kind):
    y, X = LABELS[kind], np.arange(30.)[:, None] % 2
    clf = MitraClassifier('small', device='cpu').fit(X, y)
    assert len(clf.classes_) == 2 and list(clf.predict(X)) == list(y)
    assert TabularPipeline()._adopt(clf).evaluate(X, y)['accuracy'] == 1  # a level that no row has is no class

@pytest.mark.parametrize('y', [
    pytest.param(pd.array([True, None] * 15, dtype='boolean'), id='boolean'),
    pytest.param(pd.Categorical(['u', None] * 15, list('uvw')), id='categorical'),
    pytest.param(pd.array([1, None] * 15, dtype='Int64'), id='Int64'), pytest.param(['a', np.nan] * 15, id='NaN among strings')])
def test_missing_labels_say_what_to_do(y):
    with pytest.raises(InputError, match=r'15 of 30 labels are missing, the first in row 1.*Leave these rows out'): MitraClassifier('small').fit(np.ones((30, 1)), y)

def test_a_class_that_validation_lacks_and_one_row_of_a_class():
    X, y = small()
    y = y.where(y.index != 3, 'once')
    clf = TabularPipeline(model_params=dict(pretrained='small')).fit(X, y)
    scores = clf.evaluate(X[y == 'yes'][:9].reset_index(), y[y == 'yes'][:9])
    assert np.isnan(scores['roc_auc_score']) and np.isfinite(scores['log_loss'])
    with pytest.warns(UserWarning, match="labels that training never saw"): clf.evaluate(X[:20], y[:20].replace('once', 'new'))

def test_labels_of_a_dask_table_are_those_of_pandas(fitted):
    dd, distributed = pytest.importorskip('dask.dataframe'), pytest.importorskip('distributed')
    clf, X, y, want = fitted
    pipe = TabularPipeline(model_params=dict(pretrained='small')).fit(X, y)
    X = X.set_axis(range(100, 100 + len(X)))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster, distributed.Client(cluster) as client:
        lazy = dd.from_pandas(X, npartitions=3)
        labels, proba = pipe.predict(lazy), pipe.predict_proba(lazy)
        assert labels.npartitions == 3  # nothing was collected
        labels, proba = labels.compute(), proba.compute()
        where = client.run(lambda: __import__('os').getpid())
        assert len(set(where.values())) == 2
    assert labels.index.equals(X.index) and labels.tolist() == pipe.predict(X).tolist()
    assert list(proba.columns) == ['no', 'yes']
    np.testing.assert_allclose(proba.to_numpy(), pipe.predict_proba(X), atol=1e-6)  # a worker may have another number of threads

def test_sparse_and_other_things_are_refused_with_a_reason():
    import scipy.sparse as sp
    for X, reason in ((sp.eye(4).tocsr(), 'dense'), ('table.csv', 'read_table'), (None, '2D|None'), (np.ones((2, 2, 2)), 'dim 3')):
        with pytest.raises(InputError, match=reason): MitraClassifier('small').fit(X, [0, 1, 0, 1])

@pytest.mark.parametrize('columns', [1, 2000])
def test_from_one_column_to_two_thousand(columns):
    X, y = np.random.default_rng(0).normal(size=(60, columns)), np.arange(60) % 2
    X[:, 0] += 3 * y
    p = MitraClassifier('small', device='cpu', max_features=50).fit(X, y).predict_proba(X)
    assert roc_auc_score(y, p[:, 1]) > 0.9

def test_one_row_per_class():
    X = np.eye(30)[:, :12] + np.arange(30)[:, None]
    clf = MitraClassifier('small', device='cpu').fit(X, [f'c{i}' for i in range(30)])
    assert clf.predict_proba(X).shape == (30, 30)

def test_whole_numbers_that_are_nearly_all_different_look_like_a_regression():
    X, y = np.arange(60.)[:, None], np.arange(60) * 7
    with pytest.warns(UserWarning, match='60 different numbers in 60 rows.*this looks like a regression'): MitraClassifier('small').fit(X, y)

def test_nearest_rows_beat_a_sample_where_detail_matters():
    "Eight by eight chequers, which 200 rows of 6,000 can't show; with every row, or with trees beside the model, a sample is as good."
    r = np.random.default_rng(0)
    X = r.random((7000, 2)); y = (np.floor(X * 8).sum(1) % 2).astype(int)
    score = {s: MitraClassifier('small', device='cpu', max_support=200, support_strategy=s, experts=None).fit(X[:6000], y[:6000]).score(X[6000:], y[6000:]) for s in ('sample', 'nearest')}
    assert score['nearest'] > score['sample'] + 0.1, score

@pytest.fixture(scope='module')
def near():
    X, y = make_moons(3000, noise=.2, random_state=0)
    return MitraClassifier('small', device='cpu', max_support=100, support_strategy='nearest', n_estimators=2).fit(X, y), X, y

def test_nearest_does_not_depend_on_the_other_queries(near):
    clf, X, y = near
    p = clf.predict_proba(X[:200])
    order = np.random.default_rng(1).permutation(200)
    assert np.array_equal(clf.predict_proba(X[:200][order]), p[order])
    assert np.allclose(clf.predict_proba(X[5:6])[0], p[5], atol=1e-5)

def test_nearest_is_saved(near, tmp_path):
    clf, X, y = near
    path = TabularPipeline()._adopt(clf).save(tmp_path/'near.tabtune')
    assert np.array_equal(TabularPipeline.load(path).predict_proba(X[:50]), clf.predict_proba(X[:50]))

def test_every_region_knows_every_class():
    X, y = make_classification(4000, 5, n_informative=4, n_redundant=0, n_classes=4, weights=[.9, .05, .04], random_state=0)
    clf = MitraClassifier('small', device='cpu', max_support=100, support_strategy='nearest').fit(X, y)
    for near in clf.region_rows_: assert set(y[np.union1d(near, clf.member_rows_[0])]) == {0, 1, 2, 3}
    assert clf.predict_proba(X[:20]).shape == (20, 4)

PEAK = '''
import sys, resource, numpy as np, pandas as pd
from tabtune import MitraClassifier
r = np.random.default_rng(0); X = r.normal(size=(100, 5)); y = (X[:, 0] > 0).astype(int)
clf = MitraClassifier('small', device='cpu').fit(X, y)
Q = np.tile(r.normal(size=(1000, 5)), (int(sys.argv[1]) // 1000, 1))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
clf.predict(Q)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
'''

def test_predicting_needs_no_more_memory_for_more_rows():
    peak = [int(subprocess.run([sys.executable, '-c', PEAK, str(n)], capture_output=True, text=True, check=True).stdout) for n in (60_000, 240_000)]
    assert peak[1] - peak[0] < 60, peak  # MiB; the answer itself takes 8

def test_thousands_of_levels_and_columns_that_change_at_predict(fitted):
    r = np.random.default_rng(0)
    X = pd.DataFrame(dict(a=r.normal(size=4000), id=[f'customer {i}' for i in r.integers(0, 3000, 4000)]))
    y = np.where(X.a > 0, 'yes', 'no')
    clf = MitraClassifier('small', device='cpu', max_support=300).fit(X, y)
    assert X.id.nunique() > 2000 and clf.score(X[:500], y[:500]) > 0.8
    assert clf.predict(X[:9].assign(id='someone new')).shape == (9,)
    clf, X, _, want = fitted
    for name in X:  # missing or constant in the query only
        assert np.isfinite(clf.predict_proba(X.assign(**{name: None}))).all()
        assert np.allclose(clf.predict_proba(X.assign(**{name: X[name].iloc[0]}))[0], want[0], atol=1e-5)

# --- files

@pytest.mark.parametrize('text, encoding, shape, types', [
    ('a\tb\n1\t2,5\n3\t4,25\n', 'utf-8', (2, 2), 'if'), ('a|b|c\n1|x, y|2\n', 'utf-8', (1, 3), 'iOi'),
    ('sep=;\na;b\n1;2\n', 'utf-8-sig', (1, 2), 'ii'), ('sep=\\t\na\tb\n1\t2\n', 'utf-16', (1, 2), 'ii'),
    ('name;pay\nJosé;1.200,00\nZoë;999,90\n', 'latin-1', (2, 2), 'Of'), (' a , b \n1,2\n', 'utf-8', (1, 2), 'ii'),
    ('"a;1","b"\n"x;y",2\n', 'utf-8', (1, 2), 'Oi'), ('a;b\n1.5;2\n2.5;3\n', 'utf-16-le', (2, 2), 'fi'),
    ('id,note\n1,"a\nb"\n2,c\n', 'utf-8', (2, 2), 'iO'), ('€;x\n1;2\n', 'cp1252', (1, 2), 'ii'), ('x\n1\n2\n', 'utf-8', (2, 1), 'i')],
    ids=['tab-comma', 'bar', 'sep-line-bom', 'sep-tab-utf16', 'latin1-thousands', 'padded', 'quoted-semicolon', 'utf16-le', 'line-in-quotes',
         'cp1252', 'one-column'])
def test_texts_as_people_have_them(tmp_path, text, encoding, shape, types):
    (tmp_path / 't.csv').write_bytes(text.encode(encoding))
    df = read_table(tmp_path / 't.csv')
    assert df.shape == shape and all(str(c) == str(c).strip() for c in df)
    assert ''.join('O' if t.kind in 'OTU' or str(t) == 'str' else t.kind for t in df.dtypes) == types, df.dtypes

READ = dict(  # the text of a file -> its cells by column
    trailing=('a,b\n1,2,\n3,4,\n', dict(a=[1, 3], b=[2, 4])), some_trailing=('a;b\n1;2;\n3;4\n', dict(a=[1, 3], b=[2, 4])), titled=('Report 2020\n\na,b,c\n1,2,3\n3,4,5\n', dict(a=[1, 3], b=[2, 4], c=[3, 5])),
    commented=('# by me, today\n# at noon\na,b\n1,2\n# later, a note\n3,4\n5,6\n', dict(a=[1, 3, 5], b=[2, 4, 6])), joined=('a\tb\n1\tx\na\tb\n2\ty\n', dict(a=[1, 2], b=['x', 'y'])),
    codes=('zip,n\n01067,1\n99084,2\n', dict(zip=['01067', '99084'], n=[1, 2])), blanks=('a   b\nx   1\nyy  2\n', dict(a=['x', 'yy'], b=[1, 2])), single_quotes=("'a';'b'\n'x;y';1\n", dict(a=['x;y'], b=[1])),
    cells_padded=('a | b\nKöln | 1\n Ulm  | 2\n', dict(a=['Köln', 'Ulm'], b=[1, 2])), prose=('note\nso, it is\nno\n', dict(note=['so, it is', 'no'])), thousands=('a;b\n1,234;x\n2,750;y\n', dict(a=['1,234', '2,750'], b=['x', 'y'])),
    by_the_others=('a;b\n1,234;0,5\n2,750;7\n', dict(a=[1.234, 2.75], b=[.5, 7.])), quoted_decimals=('a,b\n"1,5",x\n"22,75",y\n', dict(a=[1.5, 22.75], b=['x', 'y'])), long=('id,n\n9007199254740993,1\n,2\n9007199254740995,3\n', None))

@pytest.mark.parametrize('name', READ)
def test_what_pandas_alone_reads_wrongly(tmp_path, name):
    (tmp_path / 't.csv').write_text(READ[name][0], encoding='utf-8')
    df = read_table(tmp_path / 't.csv')
    if name == 'long': assert df.id.dropna().tolist() == [9007199254740993, 9007199254740995]
    else: assert df.to_dict('list') == READ[name][1]

def test_thousands_and_decimals_are_told_apart(tmp_path):
    (tmp_path / 't.txt').write_text('a;b;c\n1.234.567,5;12.345;1.5.2020\n0,25;999.000;2.5.2020\n')
    df = read_table(tmp_path / 't.txt')
    assert df.a.tolist() == [1234567.5, .25] and df.b.tolist() == [12345, 999000] and df.c.tolist() == ['1.5.2020', '2.5.2020']
