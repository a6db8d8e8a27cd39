"""Random tables: a valid prediction or one of our errors, nothing else.

50 tables in `make test`, always the same ones; `make fuzz` (or TABTUNE_FUZZ=500) draws that many new ones each time.
"""
import os, warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

hypothesis = pytest.importorskip('hypothesis')
from hypothesis import HealthCheck, given, settings, strategies as st

from tabtune import MitraClassifier, MitraRegressor, TabularPipeline, load_checkpoint
from tabtune.data.processing import PROCESSING_CHOICES
from tabtune.core.shapes import TabTuneError

REQUESTED = os.environ.get('TABTUNE_FUZZ')
N = int(REQUESTED or 50)
fuzz = settings(max_examples=N, derandomize=REQUESTED is None, deadline=None, database=None, suppress_health_check=list(HealthCheck))

FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=64)
WORDS = st.text(max_size=6) | st.sampled_from(['', '?', 'nan', '1', '1e400', '2024-01-01', '2024-13-45', 'yes', '\x00', '5-9'])
TIMES = st.datetimes(min_value=pd.Timestamp('1700-01-01').to_pydatetime(), max_value=pd.Timestamp('2200-01-01').to_pydatetime())
ANY = st.none() | FLOATS | st.integers() | WORDS | st.booleans() | TIMES | st.binary(max_size=3) | st.lists(st.integers(), max_size=2) | st.just(pd.NA) \
    | st.decimals(-9, 9, places=2) | st.dictionaries(WORDS, st.integers(), max_size=1) | st.just(Decimal('1e400')) | st.just(pd.Period('2024-02'))
CELLS = dict(float=FLOATS, small=st.integers(-3, 3), int64=st.integers(-2 ** 63, 2 ** 63 - 1), uint=st.integers(0, 2 ** 64 - 1), word=WORDS, maybe=st.none() | WORDS,
    bool=st.booleans(), missing=st.none(), time=TIMES, gap=st.none() | TIMES, span=st.timedeltas(), constant=st.just(7), any=ANY, big=st.sampled_from([1e300, -1e300, 1e-300, 0.]))
DTYPES = [None, None, None, 'category', 'string', 'object', 'Int64', 'Float64', 'boolean', 'float32', 'int8', 'bool', 'datetime64[ns]', 'datetime64[ns, Asia/Tokyo]', 'timedelta64[us]', 'period[M]', 'float16', 'Sparse[float]', 'uint64']

def cast(s, dtype):
    "A column as another dtype, where pandas can do that."
    if dtype is None: return s
    try: return s.astype(dtype)
    except (ValueError, TypeError, NotImplementedError, ArithmeticError, AttributeError): return s

def _polars(X): import polars as pl; return pl.from_pandas(X)
def _arrow(X): import pyarrow as pa; return pa.Table.from_pandas(X, preserve_index=False)
FORMS = dict(pandas=lambda X: X, polars=_polars, lazy=lambda X: _polars(X).lazy(), arrow=_arrow, records=lambda X: X.to_dict('records'), fields=lambda X: X.to_records(index=False),
    masked=lambda X: np.ma.masked_array(X.to_numpy(dtype=object), mask=X.isna().to_numpy()), nullable=lambda X: X.convert_dtypes())

def formed(X, form):
    "A table in another form, where that can hold it."
    try: return FORMS[form](X)
    except Exception: return X

@st.composite
def columns(draw, n, name):
    cells = draw(st.lists(CELLS[draw(st.sampled_from(sorted(CELLS)))], min_size=n, max_size=n))
    return cast(pd.Series(cells, name=name, dtype=None if draw(st.booleans()) else object), draw(st.sampled_from(DTYPES)))

@st.composite
def frames(draw, n, names):
    parts = [draw(columns(n, name)) for name in names]
    return pd.concat(parts, axis=1) if parts else pd.DataFrame(index=range(n))

NAMES = st.lists(st.sampled_from(['a', 'b', 'c', 'a', 7, ('x', 1), 'a#2', '', None, 'x0']), min_size=1, max_size=5)
GOOD = [st.integers(0, 2), st.integers(0, 14), st.sampled_from(['no', 'yes']), st.booleans(), st.sampled_from([1., 2.]), st.integers(-99, 99), st.just('one')]
LABELS = GOOD * 3 + [st.sampled_from(['a', None]), ANY, FLOATS, st.integers()]

@st.composite
def problems(draw):
    rare = draw(st.sampled_from([None] * 8 + ['no rows', 'no columns', 'complex', 'lengths']))
    n, names = 0 if rare == 'no rows' else draw(st.integers(1, 24)), [] if rare == 'no columns' else draw(NAMES)
    X = draw(frames(n, names))
    if rare == 'complex': X = pd.concat([X, pd.Series(1j, index=X.index, name=draw(st.sampled_from(['c', 'zc'])))], axis=1)
    m = n + (rare == 'lengths')
    y = cast(pd.Series(draw(st.lists(draw(st.sampled_from(LABELS)), min_size=m, max_size=m)), dtype=object).infer_objects(), draw(st.sampled_from([None, 'category', 'string'])))
    Q = X.iloc[::-1]
    change = draw(st.sampled_from(['same', 'order', 'new cells', 'extra', 'repeat', 'array', 'drop', 'same', 'new cells', 'empty']))
    if change == 'order': Q = Q.iloc[:, ::-1]
    if change == 'new cells': Q = draw(frames(draw(st.integers(1, 9)), names))
    if change == 'drop': Q = Q.iloc[:, 1:]
    if change == 'extra': Q = pd.concat([Q, pd.Series(range(n), index=Q.index, name='zz', dtype=object)], axis=1)
    if change == 'repeat': Q = pd.concat([Q] * 2)
    if change == 'empty': Q = Q[:0]
    if change == 'array': Q = Q.to_numpy(dtype=object)
    return X, y, Q

@pytest.fixture(scope='module')
def model(): return load_checkpoint('small')

@pytest.fixture(scope='module')
def numbers(): return load_checkpoint('medium-regression')

def outcome(make, X, y, Q, n=None):
    "The probabilities, or one of our errors; anything else is raised."
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            clf = make().fit(X, y)
            p, labels = clf.predict_proba(Q), clf.predict(Q)
        except TabTuneError as e:
            assert len(str(e)) > 20, e
            return None
    n = len(Q) if n is None else n
    assert p.shape == (n, len(clf.classes_)) and labels.shape == (n,)
    assert np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(1), 1)
    assert set(labels) <= set(clf.classes_)
    return p

SEEN = []

@fuzz
@given(problem=problems(), forms=st.tuples(*[st.sampled_from(['pandas'] * 8 + [*FORMS])] * 2))
def test_random_tables(model, problem, forms):
    X, y, Q = problem
    before = X.copy(deep=True), y.copy(deep=True)
    with warnings.catch_warnings(action='ignore'): X2, Q2 = formed(X, forms[0]), formed(Q, forms[1]) if isinstance(Q, pd.DataFrame) else Q
    SEEN.append(outcome(lambda: MitraClassifier(model, device='cpu'), X2, y, Q2, len(Q)) is not None)
    pd.testing.assert_frame_equal(X, before[0]); pd.testing.assert_series_equal(y, before[1])

TARGETS = dict(cells=FLOATS, real=st.floats(-1e6, 1e6), small=st.floats(-1e-300, 1e-300), large=st.floats(-1e150, 1e150), whole=st.integers(-9, 9),
    one=st.just(2.), int64=st.integers(-2 ** 63, 2 ** 63 - 1), text=st.sampled_from(['1', '2.5', ' 3']), flag=st.booleans(), any=ANY)
CLEAN = [k for k in TARGETS if k not in ('cells', 'any')]  # most tables should get as far as a prediction
KINDS = CLEAN * 3 + ['cells', 'any']
NUMBERS = []

@settings(fuzz, max_examples=max(20, N // 2))
@given(problem=problems(), data=st.data())
def test_random_targets(numbers, problem, data):
    X, y, Q = problem
    y = data.draw(st.lists(TARGETS[data.draw(st.sampled_from(KINDS))], min_size=len(y), max_size=len(y)))
    before = X.copy(deep=True)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            reg = MitraRegressor(numbers, device='cpu').fit(X, y)
            p, band = reg.predict(Q), reg.predict_interval(Q)
        except TabTuneError as e:
            NUMBERS.append(False)
            assert len(str(e)) > 20, e
        else:
            NUMBERS.append(True)
            assert p.shape == (len(Q),) and band.shape == (len(Q), 2) and np.isfinite(p).all() and np.isfinite(band).all()
            assert (band[:, 0] <= band[:, 1]).all()
    pd.testing.assert_frame_equal(X, before)

def test_many_of_these_targets_are_predicted():
    if not NUMBERS: pytest.skip('runs after test_random_targets')
    assert sum(NUMBERS) > 0.3 * len(NUMBERS)

def test_many_of_these_tables_are_predicted():
    "Else the fuzz would only test the errors."
    if not SEEN: pytest.skip('runs after test_random_tables')
    assert sum(SEEN) > 0.3 * len(SEEN)

PARAMS = st.fixed_dictionaries({}, optional={k: st.sampled_from([v for v in PROCESSING_CHOICES[k] if v != 'iterative']) for k in PROCESSING_CHOICES if k != 'resampling_strategy'} | dict(resampling_strategy=st.sampled_from(['over', 'under', 'smote'])))

@settings(fuzz, max_examples=max(10, N // 5))
@given(problem=problems(), params=PARAMS)
def test_random_steps(problem, params):
    if 'resampling_strategy' in params: pytest.importorskip('imblearn')
    outcome(lambda: TabularPipeline(model_params=dict(pretrained='small'), tuning_params=dict(device='cpu'), processor_params=params), *problem)

KEYS = st.sampled_from(['seed', 'd_model', 'device', 'epochs', 'dropout', 'n_estimators', 'scaling_strategy', 'seeed', 'num_heads', 'pretrained'])
VALUES = st.none() | st.integers(-2, 40) | st.floats() | st.booleans() | st.sampled_from(['medium', 'cpu', 'power', 'x', '']) | st.lists(st.integers(), max_size=1)

@settings(fuzz, max_examples=max(20, N // 5))
@given(model_params=st.dictionaries(KEYS, VALUES, max_size=2), tuning_params=st.dictionaries(KEYS, VALUES, max_size=2), processor_params=st.dictionaries(KEYS, VALUES, max_size=1))
def test_random_settings(model_params, tuning_params, processor_params):
    X, y = pd.DataFrame(dict(a=[1, 2, 3, 4])), ['n', 'y', 'n', 'y']
    outcome(lambda: TabularPipeline(model_params=model_params, tuning_params=tuning_params, processor_params=processor_params), X, y, X)
