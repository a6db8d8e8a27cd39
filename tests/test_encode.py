"Tables as they come: every dtype, drift, names, saving. The notebook data/04_encode explains; this file is the dull part."
import datetime as dt, json, pickle, time, warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal as same
from sklearn.utils.estimator_checks import parametrize_with_checks

from tabtune.data.encode import TableEncoder
from tabtune.data.frames import validate_table, encode_labels, match_labels
from tabtune.core.shapes import InputError

def obj(*v):
    a = np.empty(len(v), dtype=object)
    a[:] = v
    return a

IST = dt.timezone(dt.timedelta(hours=5, minutes=30))
DAYS = pd.date_range('2020', '2024', periods=4)
COLUMNS = dict(  # name -> (kind, 4 cells)
    int=('number', [3, 1, 2, 5]), float=('number', [1.5, np.nan, 2, 3]), inf=('number', [np.inf, -np.inf, 1, 2]),
    only_inf=('number', [np.inf, -np.inf, np.inf, np.nan]), huge=('number', [1e300, -1e300, 1., 1e-300]), tiny=('number', [1e-300, 2e-300, 3e-300, 0]),
    subnormal=('number', [5e-324, 1e-323, 0, 1]), largest=('number', [1.7e308, -1.7e308, 0, 1]), f32=('number', np.float32([1, 2, 3e38, -3e38])),
    f16=('number', np.float16([1, 2, 3, 6e4])), u8=('number', np.uint8([0, 255, 3, 4])), int64=('number', [2 ** 63 - 1, -2 ** 63, 0, 1]),
    uint64=('number', np.uint64([2 ** 64 - 1, 2 ** 64 - 2, 2 ** 64 - 3, 2 ** 64 - 4])), const=('number', [.1] * 4), stamps=('number', 1.7e9 + np.arange(4)),
    Int64=('number', pd.array([1, None, 3, 4], dtype='Int64')), UInt8=('number', pd.array([1, None, 3, 4], dtype='UInt8')),
    Float32=('number', pd.array([1.5, None, 3, np.inf], dtype='Float32')), sparse=('number', pd.arrays.SparseArray([0., 0., 1., np.nan])),
    bool=('boolean', [True, False, True, True]), boolean=('boolean', pd.array([True, None, False, True], dtype='boolean')),
    obool=('boolean', obj(True, None, False, pd.NA)), str=('category', ['a', 'b', None, 'a']), string=('category', pd.array(['a', 'b', pd.NA, 'a'], dtype='string')),
    cat=('category', pd.Categorical(['a', 'b', None, 'a'], categories=['z', 'b', 'a'])), icat=('category', pd.Categorical([3, 1, None, 20])),
    ocat=('category', pd.Categorical(['a', 'b', None, 'a'], categories=['z', 'b', 'a'], ordered=True)), bcat=('category', pd.Categorical([True, False, None, True])),
    dcat=('category', pd.Categorical(pd.to_datetime(['2020', '2021', None, '2020']))), interval=('category', pd.interval_range(0, 4)),
    date=('date', DAYS), date_s=('date', DAYS.as_unit('s')), date_tz=('date', DAYS.tz_localize('America/New_York')), date_off=('date', DAYS.tz_localize(IST)),
    td=('duration', pd.to_timedelta([1, 2, None, 4], unit='h')), period=('date', pd.period_range('2020', periods=4, freq='M')),
    odate=('date', obj(dt.date(2020, 1, 1), None, dt.date(2021, 1, 1), dt.date(1900, 1, 1))), otime=('duration', obj(dt.time(1, 2, 3), None, dt.time(2), dt.time(3))),
    odt=('date', obj(dt.datetime(2020, 1, 1, tzinfo=IST), None, dt.datetime(2021, 1, 1, tzinfo=dt.timezone.utc), dt.datetime(2021, 1, 1))),
    otd=('duration', obj(dt.timedelta(days=1, seconds=3), None, dt.timedelta(2), dt.timedelta(3))), decimal=('number', obj(Decimal('1.5'), None, Decimal(2), Decimal('NaN'))),
    fraction=('number', obj(Fraction(1, 3), None, Fraction(2), Fraction(1, 7))), mixed=('category', obj(1, 'a', 2.5, None)), boolint=('number', obj(True, 2, None, 1.)),
    bytes=('category', obj(b'a', 'a', None, b'\xff')), lists=('category', obj([1], [1, 2], None, {})), tuples=('category', obj((1, 2), (3,), None, (1, 2))),
    bigint=('number', obj(10 ** 30, 10 ** 31, None, 1)), numbers=('number', ['1', '2.5', ' 3 ', 'inf']), spelled_out=('number', ['1', '?', '3', '']),
    iso=('date', ['2020-01-01', '2021-05-05 10:00', None, '?']), iso_z=('date', ['2020-01-01T00:00:00Z', '2021-05-05T10:00:00+02:00', None, '2020-01-01']),
    long=('category', ['x' * 10000, '9' * 5000, '1' + '0' * 4500, 'y']), unicode=('category', ['²', 'é', '\x00', '日本']), text=('category', ['yes', 'no', 'True', 'x']))
EMPTY = dict(float=[np.nan] * 4, obj=obj(None, np.nan, pd.NA, pd.NaT), cat=pd.Categorical([None] * 4), dates=pd.array([pd.NaT] * 4, dtype='datetime64[ns]'),
    durations=pd.array([pd.NaT] * 4, dtype='timedelta64[ns]'), boolean=pd.array([None] * 4, dtype='boolean'), string=pd.array([None] * 4, dtype='string'),
    Int64=pd.array([None] * 4, dtype='Int64'))

def frame(name): return pd.DataFrame({name: pd.Series(COLUMNS[name][1])})
def back(enc): return TableEncoder.from_state(json.loads(json.dumps(enc.state_dict(), default=np.ndarray.tolist)))

# columns where cells of different text have the same value, or are missing: name -> distinct codes
TWO_CODES = dict.fromkeys(('boolint', 'bytes', 'spelled_out', 'iso', 'iso_z', 'decimal', 'odt'), 2)

@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('name', COLUMNS)
def test_column(name):
    df = frame(name); kept = df.copy(deep=True)
    enc = TableEncoder().fit(df); z = enc.transform(df)
    assert enc.column_kinds_ == {name: COLUMNS[name][0]}
    assert z.dtype == np.float32 and z.shape == (4, len(enc.get_feature_names_out())) and not np.isinf(z).any()
    assert len(np.unique(z[~np.isnan(z[:, 0]), 0])) == TWO_CODES.get(name, df[name].dropna().map(str).nunique())
    for i in range(4):  # a row's code depends on no other row, nor on the dtype it comes in
        same(enc.transform(df.iloc[[i]]), z[[i]])
        same(enc.transform(df.astype(object).iloc[[i]]), z[[i]])
    same(TableEncoder().fit(df.iloc[[2, 0, 3, 1]]).transform(df), z)
    assert back(enc).transform(df).tobytes() == z.tobytes()
    assert len(enc.summary()) == 1
    pd.testing.assert_frame_equal(df, kept)

@pytest.mark.parametrize('name', EMPTY)
def test_all_missing(name):
    df = pd.DataFrame({'a': [1, 2, 3, 4], 'b': pd.Series(EMPTY[name])})
    enc = TableEncoder().fit(df)
    assert enc.transform(df).shape == (4, 2)
    same(enc.transform(pd.DataFrame(dict(a=[1, 2], b=['x', 'y'])))[:, 1], [np.nan] * 2)
    assert enc.summary().note[1] == 'all missing'

def test_drift_every_kind_into_every_kind():
    for a in COLUMNS:
        enc = TableEncoder().fit(frame(a))
        for b in ('int', 'Int64', 'float', 'boolean', 'str', 'ocat', 'date_tz', 'td', 'period', 'mixed', 'spelled_out', 'lists', 'iso'):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter('always')
                z = enc.transform(frame(b).set_axis([a], axis=1))
            assert not np.isinf(z).any() and len(seen) <= 1 and all('became missing' in str(w.message) for w in seen)

def test_one_warning_for_many_columns():
    enc = TableEncoder().fit(pd.DataFrame({f'c{i}': [1., 2.] for i in range(9)}))
    with pytest.warns(UserWarning, match="'c0' .1, such as 'bad'.* and 4 more") as seen: enc.transform(pd.DataFrame({f'c{i}': ['1', 'bad'] for i in range(9)}))
    assert len(seen) == 1

def test_numbers_keep_distinct_and_order():
    rng = np.random.default_rng(0)
    for x in (10. ** np.arange(-300, 301), np.r_[1.7e9 + np.arange(500), 1e18], np.r_[rng.normal(size=500), 1e-17, 0, -1e-17], np.r_[-1e300, rng.normal(size=300), 1e300],
              np.arange(5) * 5e-324, 1 + np.arange(50) * 2 ** -52, np.r_[np.arange(100), 1e30, -1e30]):
        x = rng.permutation(np.unique(x))
        enc = TableEncoder().fit(x[:, None]); z = enc.transform(x[:, None])[:, 0]
        assert np.isfinite(z).all() and (np.diff(z[np.argsort(x)]) > 0).all()
        out = enc.transform(np.array([[np.inf], [-np.inf], [x.max()], [x.min()], [np.nan]]))[:, 0]
        assert out[0] > out[2] and out[1] < out[3] and np.isnan(out[4]) and np.isfinite(out[:4]).all()

def test_ordinary_numbers_are_standardised():
    x = np.random.default_rng(0).gamma(2, 3, (5000, 3))
    np.testing.assert_allclose(TableEncoder().fit_transform(x), (x - x.mean(0)) / x.std(0), atol=1e-5)

def test_categories():
    df = pd.DataFrame(dict(a=['b', 'a', 'c', None], n=pd.Categorical(['10', '9', '9', None])))
    enc = TableEncoder().fit(df)
    same(enc.transform(df), np.float32([[1, 1], [0, 0], [2, 0], [np.nan, np.nan]]))
    same(enc.transform(pd.DataFrame(dict(a=['z', 'c'], n=[9, 10.]))), np.float32([[np.nan, 0], [2, 1]]))
    same(enc.categorical_mask_, [True, True])

def test_date_parts_only_where_they_vary():
    day = pd.DataFrame(dict(d=pd.date_range('2024-05-06', periods=10, freq='h')))
    assert list(TableEncoder().fit(day).get_feature_names_out()) == ['d', 'd_hour']
    clash = pd.DataFrame(dict(d=pd.date_range('2024-05-06', periods=10, freq='h'), d_hour=range(10)))
    assert len(set(TableEncoder().fit(clash).get_feature_names_out())) == 3

# names and forms of tables

DF = pd.DataFrame(dict(a=[1., 2, 3], b=['x', 'y', None], c=[True, False, True]))

def test_columns_by_name():
    enc = TableEncoder().fit(DF); z = enc.transform(DF)
    with warnings.catch_warnings(): warnings.simplefilter('error'); same(enc.transform(DF[['c', 'a', 'b']]), z)
    with pytest.warns(UserWarning, match="ignored: 'new'"): same(enc.transform(DF.assign(new=1)), z)
    with pytest.raises(InputError, match='- a\n- c'): enc.transform(DF[['b']])
    assert list(enc.feature_names_in_) == ['a', 'b', 'c'] and enc.n_features_in_ == 3

def test_x_names_are_names_too():
    df = pd.DataFrame(np.eye(4), columns=[f'x{i}' for i in range(4)])
    enc = TableEncoder().fit(df)
    same(enc.transform(df[['x3', 'x1', 'x0', 'x2']]), enc.transform(df))
    with pytest.raises(InputError, match='- x3'): enc.transform(df[['x0', 'x1', 'x2']])
    with pytest.warns(UserWarning, match='ignored'): enc.transform(df.assign(x4=1))
    with pytest.raises(InputError, match='- x0'): enc.transform(df.rename(columns={'x0': 'y'}))

def test_positions_where_there_are_no_names():
    A = DF.to_numpy(); enc = TableEncoder().fit(A); z = enc.transform(A)
    assert not hasattr(enc, 'feature_names_in_')
    with warnings.catch_warnings(): warnings.simplefilter('error'); same(enc.transform(pd.DataFrame(A)), z)
    with pytest.raises(InputError, match='X has 2 features, but TableEncoder is expecting 3 features as input'): enc.transform(A[:, :2])
    with pytest.warns(UserWarning, match='fitted without feature names'): same(enc.transform(DF), z)
    named = TableEncoder().fit(DF)
    with pytest.warns(UserWarning, match='does not have valid feature names'): same(named.transform(A), z)
    numbered = TableEncoder().fit(pd.DataFrame(A))
    with warnings.catch_warnings(): warnings.simplefilter('error'); same(numbered.transform(pd.DataFrame(A)[[2, 0, 1]]), z)
    assert not hasattr(back(enc), 'feature_names_in_') and hasattr(back(named), 'feature_names_in_')

def test_odd_names():
    df = DF.set_axis(['a', 'a', 'a'], axis=1); enc = TableEncoder().fit(df)
    same(enc.transform(df), TableEncoder().fit_transform(DF))
    assert list(enc.column_kinds_) == ['a', 'a#2', 'a#3']
    multi = DF.set_axis(pd.MultiIndex.from_tuples([('a', 1), ('a', 2), ('b', 1)]), axis=1)
    assert list(TableEncoder().fit(multi).column_kinds_) == ['a_1', 'a_2', 'b_1']
    assert TableEncoder().fit_transform(DF.set_axis([3, 'b', 1.5], axis=1)).shape == (3, 3)

class NeedsMore:
    "As polars does without pyarrow."
    def __init__(self, d): self.d, self.columns = d, list(d)
    def __getitem__(self, c): return iter(self.d[c])
    def to_pandas(self): raise ModuleNotFoundError('pyarrow')

def test_forms():
    z = TableEncoder().fit_transform(DF)
    for X in (DF.to_numpy(), DF.to_numpy().tolist(), [tuple(r) for r in DF.to_numpy()], DF.convert_dtypes(), DF.astype(object), NeedsMore({c: list(DF[c]) for c in DF})):
        same(TableEncoder().fit_transform(X), z)
    for A in (np.array([['1', 'a'], ['nan', 'b']]), np.array([[b'1', b'a'], [b'2', b'b']]), np.array([['2020-01-01', '2021-01-01']] * 2, dtype='M8[D]'),
              np.ones((2, 2), dtype=bool), np.asfortranarray(np.ones((3, 2))), np.ones((3, 2))[::-1, ::-1]):
        assert TableEncoder().fit_transform(A).shape[0] == len(A)

@pytest.mark.parametrize('X,error,text', [
    pytest.param(np.ones(3), ValueError, 'Expected 2D array', id='1d array'),
    pytest.param(DF.a, ValueError, 'Expected a 2-dimensional container', id='series'),
    pytest.param(np.ones((0, 3)), InputError, r'Found array with 0 sample\(s\)', id='no rows'),
    pytest.param(np.ones((3, 0)), InputError, r'0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1 is required.', id='no columns'),
    pytest.param(DF[:0], InputError, r'Found array with 0 sample\(s\)', id='empty frame'),
    pytest.param(np.ones((2, 2)) * 1j, ValueError, 'Complex data not supported', id='complex array'),
    pytest.param(DF.assign(z=1j), ValueError, 'Complex data not supported', id='complex column'),
    pytest.param(sp.csr_array(np.eye(3)), InputError, '[Ss]parse', id='sparse'),
    pytest.param(np.asmatrix(np.eye(3)), InputError, 'np.matrix', id='matrix'),
    pytest.param([[1, 2], [3]], ValueError, 'differ in length', id='ragged'),
    pytest.param(np.ones((2, 2, 2)), ValueError, 'dim 3', id='3d array')])
def test_not_a_table(X, error, text):
    with pytest.raises(error, match=text): TableEncoder().fit(X)
    with pytest.raises(error, match=text): validate_table(X)

def test_rows_of_X_and_y():
    with pytest.raises(InputError, match=r'inconsistent numbers of samples: \[3, 2\]'): validate_table(DF, [0, 1])

@parametrize_with_checks([TableEncoder()])
def test_sklearn(estimator, check): check(estimator)

def test_saving():
    skops = pytest.importorskip('skops.io')
    df = pd.concat([frame(n) for n in COLUMNS], axis=1); enc = TableEncoder().fit(df); z = enc.transform(df)
    data = skops.dumps(enc.state_dict())
    assert skops.get_untrusted_types(data=data) == []
    for e in (TableEncoder.from_state(skops.loads(data)), pickle.loads(pickle.dumps(enc)), back(enc)):
        assert e.transform(df).tobytes() == z.tobytes()
        same(e.get_feature_names_out(), enc.get_feature_names_out()); same(e.categorical_mask_, enc.categorical_mask_)
        pd.testing.assert_frame_equal(e.summary(), enc.summary())

def test_refit_forgets():
    enc = TableEncoder().fit(DF).fit(np.ones((2, 2)))
    assert enc.n_features_in_ == 2 and not hasattr(enc, 'feature_names_in_')

def test_speed():
    rng, n = np.random.default_rng(0), 100_000
    df = pd.DataFrame({f'n{i}': rng.normal(size=n) for i in range(10)} | {f'c{i}': np.array(['alpha', 'beta', 'gamma'])[rng.integers(0, 3, n)] for i in range(10)})
    def seconds(f, n=3):
        times = []
        for _ in range(n): start = time.process_time(); f(); times.append(time.process_time() - start)
        return sorted(times)[n // 2]
    enc = TableEncoder().fit(df[:1000])
    assert seconds(lambda: enc.transform(df)) < 0.2 * n * seconds(lambda: [enc.transform(df[:1]) for _ in range(9)]) / 9  # not row by row

# labels

@pytest.mark.parametrize('y', [
    pytest.param([2, 0, 2, -1], id='integers'), pytest.param(['b', 'a', 'b', 'c'], id='strings'),
    pytest.param([True, False, True, True], id='booleans'), pytest.param([1., 0., 1., 5.], id='floats'),
    pytest.param(['10', '9', '10', 'é'], id='digits as strings')])
def test_labels(y):
    classes, codes = np.unique(y, return_inverse=True)
    s = pd.Series(y)
    for form in (y, tuple(y), np.array(y), np.array(y, dtype=object), s, s.convert_dtypes(), s.astype(object), s.astype('category'), s.set_axis([7, 7, 3, 1]), pd.Index(y),
                 s.astype('category').cat.as_ordered().cat.reorder_categories(list(classes[::-1]))):
        got, cls = encode_labels(form)
        assert got.dtype == np.int64
        same(got, codes); same(cls, classes); same(cls[got], np.asarray(y)); same(match_labels(form, cls), codes)
    assert encode_labels(np.array(y))[1].dtype == np.array(y).dtype

@pytest.mark.parametrize('y', [
    pytest.param([1, None, 2], id='None among integers'), pytest.param(['a', None, 'b'], id='None among strings'),
    pytest.param(np.array([1., np.nan, 2]), id='NaN in an array'), pytest.param(pd.Series([1, None, 0], dtype='Int64'), id='Int64'),
    pytest.param(pd.Series(['a', pd.NA, 'b'], dtype='string'), id='string'),
    pytest.param(pd.Categorical([1, None, 2]), id='categorical'),
    pytest.param(pd.Series([True, None, False], dtype='boolean'), id='boolean'), pytest.param(['a', np.nan, 'b'], id='NaN among strings'),
    pytest.param(pd.Series([pd.Timestamp(0), pd.NaT, pd.Timestamp(1)]), id='NaT')])
def test_missing_labels(y):
    with pytest.raises(InputError, match='1 of 3 labels are missing, the first in row 1'): encode_labels(y)
    with pytest.raises(InputError, match='1 of 3 labels are missing'): match_labels(y, [1, 2])

@pytest.mark.parametrize('y,text', [
    pytest.param([.5, 1.5, 2.5], 'Unknown label type: continuous', id='fractions'),
    pytest.param(pd.Series([.5, 1], dtype='Float64'), 'Unknown label type: continuous', id='Float64 fractions'),
    pytest.param([1, 'a'], 'several types', id='number and string'), pytest.param([[1], [2, 3]], 'inhomogeneous', id='ragged'),
    pytest.param(np.ones((3, 2)), '1d array', id='2d array'), pytest.param([1., np.inf], 'infinity', id='infinity'),
    pytest.param(None, 'requires y to be passed', id='None'), pytest.param(3, '1d|shape', id='scalar'),
    pytest.param(obj([1], [2]), 'Unknown label type', id='lists'), pytest.param(obj(True, 'a'), 'several types', id='boolean and string'),
    pytest.param([1j, 2], 'Complex', id='complex')])
def test_not_labels(y, text):
    with pytest.raises(ValueError, match=text): encode_labels(y)

def test_column_vector():
    for y in (np.array([[1], [0]]), pd.DataFrame(dict(y=[1, 0]))):
        with pytest.warns(UserWarning, match='column-vector'): same(encode_labels(y)[0], [1, 0])

def test_match_labels():
    same(match_labels(['b', 'z'], ['a', 'b']), [1, -1]); same(match_labels([1, 0, 2], np.array([False, True])), [1, 0, -1])
    same(match_labels(pd.Categorical(['b']), np.array(['a', 'b'])), [1]); same(match_labels(np.array([2., 3.]), np.array([2, 4])), [0, -1])
    t = pd.Series(pd.date_range('2020', periods=3)); same(match_labels(t, encode_labels(t)[1]), [0, 1, 2])

# effects of levels on the target

def towns(task, n=600, levels=30, seed=0):
    "A table whose towns tell something about the target, and whose clubs don't; and one of five classes for 'classes'."
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(dict(age=rng.normal(40, 10, n), town=np.array([f'town {i}' for i in range(levels)])[rng.integers(0, levels, n)],
                           club=np.array([f'club {i}' for i in range(9)])[rng.integers(0, 9, n)], paid=rng.integers(0, 2, n) > 0))
    number = df.town.str[5:].astype(int).to_numpy()
    df.loc[::50, 'town'] = None
    noise = rng.random(n) < .2
    if task == 'numbers': return df, np.exp(rng.normal(size=levels)[number] + .3 * rng.normal(size=n))
    return df, np.where(noise, rng.integers(0, 5, n), number % 5) if task == 'classes' else (number % 2) ^ noise

TASKS = [pytest.param('two', ['town_effect'], id='two classes'), pytest.param('classes', ['town_effect1', 'town_effect2', 'town_effect3'], id='five classes'),
         pytest.param('numbers', ['town_effect'], id='numbers')]
def task_of(task): return 'regression' if task == 'numbers' else 'classification'

@pytest.mark.parametrize('task,effects', TASKS)
def test_effects_of_levels(task, effects):
    df, y = towns(task); enc = TableEncoder(); z, _ = enc.fit_rows(df, y, task_of(task)); k = len(effects)
    assert list(enc.get_feature_names_out()) == ['age', 'town', *effects, 'club', 'paid']
    same(enc.categorical_mask_, [False, True] + [False] * k + [True, False]); same(enc.sources_, [0, 1] + [1] * k + [2, 3])
    assert enc.summary().outputs.tolist() == [1, 1 + k, 1, 1]
    same(np.isnan(z[:, 2]), df.town.isna()); same(enc.decode(z).town.isna(), df.town.isna())
    full = enc.transform(df)
    same(np.delete(full, range(2, 2 + k), 1), TableEncoder().fit_transform(df)); same(np.delete(z, range(2, 2 + k), 1), TableEncoder().fit_transform(df))
    same(full[:, 1] == 0, np.isclose(full[:, 2], enc.columns_[1].effects[0][0]))  # one effect for each level
    assert not np.array_equal(full[:, 2], z[:, 2], equal_nan=True) and np.corrcoef(full[1:50, 2], z[1:50, 2])[0, 1] > .8
    assert np.isnan(enc.transform(df[1:2].assign(town='nowhere'))[0, 1:2 + k]).all()
    for e in (back(enc), pickle.loads(pickle.dumps(enc))): assert e.transform(df).tobytes() == full.tobytes()

def test_no_effects():
    df, y = towns('two'); plain = TableEncoder().fit_transform(df)
    for X, labels, task in ((df, y, None), (df, np.zeros(len(df), int), 'classification'), (df[:15], y[:15], 'classification')):
        same(TableEncoder().fit_rows(X, labels, task)[0], TableEncoder().fit_transform(X))
    coin = np.random.default_rng(1).integers(0, 2, len(df))
    same(TableEncoder().fit_rows(df, coin, 'classification')[0], plain)                                    # the levels tell nothing
    three = df.assign(town='town ' + pd.Series(y + df.paid).astype(str))
    same(TableEncoder().fit_rows(three, y, 'classification')[0], TableEncoder().fit_transform(three))      # three levels: codes will do
    numbers = df[['age', 'paid']]
    same(TableEncoder().fit_rows(numbers, y, 'classification')[0], TableEncoder().fit_transform(numbers))
    assert TableEncoder().fit_rows(df.assign(town=None), y, 'classification')[0].shape[1] == 4             # all missing

def test_effects_of_old_encoders():
    df, y = towns('two'); enc = TableEncoder(); enc.fit_rows(df, y)
    old = enc.state_dict()
    for c in old['columns']: c.pop('effects', None)
    same(TableEncoder.from_state(old).transform(df), enc.transform(df))

@pytest.mark.parametrize('steps,done', [
    pytest.param({}, 'levels as codes and their effect on the target', id='no steps'),
    pytest.param(dict(imputation_strategy='median', scaling_strategy='power', feature_selection_strategy='variance', n_features=4),
                 'levels as codes and their effect on the target, most frequent level for missing cells', id='steps on numbers'),
    pytest.param(dict(categorical_encoding='ordinal'), 'levels as codes', id='codes wanted'),
    pytest.param(dict(categorical_encoding='onehot'), 'levels as codes, one-hot', id='one-hot wanted')])
def test_effects_and_steps(steps, done):
    from tabtune.data.processing import TableProcessor, encoder_from_state, processing_summary
    df, y = towns('two'); p = TableProcessor(**steps); x, _ = p.fit_rows(df, y); t = processing_summary(p).set_index('column')
    assert t.done['town'] == done
    assert ('town_effect' in p.names_) == ('effect' in done)
    assert p.transform(df).shape == x.shape
    assert encoder_from_state(p.state_dict()).transform(df).tobytes() == p.transform(df).tobytes()

def level_table(n, levels, seed, n_new=1500):
    "Labels from a normal effect of each level and of four numbers: table, labels, and the same as a sparse one-hot matrix."
    from scipy.sparse import csr_array, hstack
    rng = np.random.default_rng(seed)
    x, level = rng.normal(size=(n + n_new, 4)), rng.integers(0, levels, n + n_new)
    eta = .7 * x @ rng.normal(size=4) + 1.5 * rng.normal(size=levels)[level]
    y = (rng.random(n + n_new) < 1 / (1 + np.exp(np.median(eta) - eta))).astype(int)
    unseen = ~np.isin(level, level[:n])
    onehot = csr_array(((~unseen).astype(float), (np.arange(len(level)), level)), shape=(len(level), levels))
    return pd.DataFrame(x, columns=list('abcd')).assign(town='town ' + pd.Series(level).astype(str)), y, hstack([x, onehot]).tocsr()

@pytest.mark.parametrize('n,levels', [pytest.param(800, k, id=f'{k} levels') for k in (40, 100, 200)])
def test_many_levels_as_good_as_onehot(n, levels):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from tabtune import MitraClassifier
    scores = []
    for seed in (10, 11, 12):
        df, y, onehot = level_table(n, levels, seed)
        ours = MitraClassifier(device='cpu').fit(df[:n], y[:n]).predict_proba(df[n:])[:, 1]
        linear = LogisticRegression(max_iter=1000).fit(onehot[:n], y[:n]).predict_proba(onehot[n:])[:, 1]
        scores.append((roc_auc_score(y[n:], ours), roc_auc_score(y[n:], linear)))
    ours, linear = np.mean(scores, 0)
    assert ours > linear - .01, f'AUC {ours:.3f}, one-hot logistic regression {linear:.3f}'

@pytest.mark.parametrize('n_classes,levels', [(3, 100), (5, 100), (10, 200)], ids=lambda k: str(k))
def test_many_levels_and_classes_as_good_as_onehot(n_classes, levels, tmp_path):
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from tabtune import TabularPipeline
    rng, n = np.random.default_rng(n_classes), 1000
    level, x = rng.integers(0, levels, n + 800), rng.normal(size=(n + 800, 2))
    z = 1.6 * rng.normal(size=(levels, n_classes))[level] + x @ rng.normal(0, .7, (2, n_classes))
    y, df = (z + rng.gumbel(size=z.shape)).argmax(1), pd.DataFrame(x, columns=['a', 'b']).assign(town='town ' + pd.Series(level).astype(str))
    score = lambda m: roc_auc_score(y[n:], m.predict_proba(df[n:]), multi_class='ovr')
    linear = make_pipeline(make_column_transformer((OneHotEncoder(handle_unknown='ignore'), ['town']), remainder='passthrough'), LogisticRegression(max_iter=1000))
    p = TabularPipeline(tuning_params=dict(device='cpu')).fit(df[:n], y[:n])
    ours, onehot = score(p), score(linear.fit(df[:n], y[:n]))
    assert ours > onehot - .01, f'AUC {ours:.3f}, one-hot logistic regression {onehot:.3f}'
    same(TabularPipeline.load(p.save(tmp_path/'p.tabtune')).predict_proba(df[n:n + 9]), p.predict_proba(df[n:n + 9]))  # the saved expert is fitted again
    assert 'levels' in str(p.describe()['blend'])

def test_effects_in_a_pipeline(tmp_path):
    from tabtune import TabularPipeline, feature_importance, get_attention_weights, similar_rows
    df, y = towns('two'); new = df[:40].assign(age=30.)
    p = TabularPipeline(tuning_params=dict(device='cpu')).fit(df, y); e = p.estimator_
    same(e.x_support_, TableEncoder().fit_rows(df, y, 'classification')[0])  # training rows keep their cross-fitted effects
    q = TabularPipeline.load(p.save(tmp_path/'p.tabtune'))
    same(q.predict_proba(new), p.predict_proba(new)); same(q.estimator_.x_support_, e.x_support_)
    importance = feature_importance(p, new)
    assert set(importance.index) == set(df.columns) and importance.index[0] == 'town'
    assert get_attention_weights(p, new[:3]).tokens == ['label', 'age', 'town', 'town_effect', 'club', 'paid']
    rows = similar_rows(p, new[:1])
    assert set(rows.columns) == {'weight', 'label', *df.columns} and rows.town.fillna('').tolist() == df.town[rows.index].fillna('').tolist()
    assert p.show_processing_summary().set_index('column').inputs.to_dict() == dict(age=1, town=2, club=1, paid=1)
