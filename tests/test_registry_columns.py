"""Kinds of columns: every record is complete, and a new kind takes a class and a record.

The toy kind below is what a newcomer would write. It is used end to end: recognised, encoded, summarised, shown in the form, given to
baselines, saved, loaded and read back.
"""
import dataclasses, pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal as same

from tabtune import TabularPipeline
from tabtune.core.shapes import CheckpointError, InputError
from tabtune.data.columns import KINDS, Column, ColumnKind, parse_distinct, register_kind
from tabtune.data.encode import TableEncoder
from tabtune.data.kinds import NumberColumn, column_kind, column_kinds
from tabtune.data.processing import TableProcessor, processing_summary

EXAMPLES = {name: pd.Series(list(kind.example)) for name, kind in KINDS.items()}

# --- the whole registry

@pytest.mark.parametrize('name', EXAMPLES)
def test_a_record_is_complete(name):
    kind = KINDS[name]
    assert kind.name == name == kind.column.kind and issubclass(kind.column, Column)
    assert kind.label and kind.description and '\n' not in kind.label + kind.description + kind.treatment, f'{name} has no label or description of one line'
    assert kind.dtype or kind.inferred or kind.text, 'nothing recognises it'
    assert not (kind.categorical and kind.numeric)
    assert isinstance(kind.example, tuple) and kind.example.count(None) == 1 and len(kind.example) > 2, f'{name} has no example'
    for method in ('_learn', '_encode') if kind.categorical or not kind.decodes else ('_read', '_learn', '_encode'):
        assert getattr(kind.column, method) is not getattr(Column, method), f'{kind.column.__name__} has no {method}'
    assert kind.column.decode is not Column.decode

def test_no_class_of_columns_is_left_without_a_record():
    def below(c): return {c}.union(*map(below, c.__subclasses__()))
    ours = {c for c in below(Column) if c.__module__.startswith('tabtune.') and 'kind' in vars(c)}
    assert {c.__name__ for c in ours - {Column} - {kind.column for kind in KINDS.values()}} == set()

@pytest.mark.parametrize('name', EXAMPLES)
def test_a_kind_is_recognised_encoded_described_saved_and_read_back(name):
    kind, cells = KINDS[name], KINDS[name].example
    df, missing = pd.DataFrame({'c': list(cells)}), cells.index(None)
    assert column_kind(df.c) == name and column_kinds(df.astype(object)) == [name]
    enc = TableEncoder().fit(df); z = enc.transform(df); c = enc.columns_[0]
    assert z.shape == (len(cells), len(c.outputs())) and c.missing == 1 / len(cells) and c.n_distinct == len({*cells} - {None}) and (c.note() == '') == kind.decodes
    assert TableEncoder.from_state(enc.state_dict()).transform(df).tobytes() == z.tobytes()
    got = enc.decode(z).c
    assert got.isna().tolist() == [cell is None for cell in cells] and (not kind.decodes or (got.drop(missing) == df.c.drop(missing)).all())
    assert KINDS[name].categorical == bool(enc.categorical_mask_[0]) and (hasattr(c, 'levels') or not KINDS[name].categorical)
    done = processing_summary(enc).done[0]
    assert done == (KINDS[name].treatment or 'kept as it is')

@pytest.mark.parametrize('name', EXAMPLES)
@pytest.mark.parametrize('other', EXAMPLES)
def test_any_kind_can_be_fitted_to_any_column(name, other):
    "A user may know better than the contents: whatever can't be read is missing, and never an error."
    s, unreadable = EXAMPLES[other], []
    c = KINDS[name].column('c').fit(s)
    for z in c.encode(s, unreadable): assert z.dtype == np.float32 and z.shape == (len(s),)

def test_baselines_get_numbers_and_levels():
    from tabtune.estimators.adapted import PlainTable
    df = pd.DataFrame(EXAMPLES)
    plain = PlainTable().fit(df).transform(df)
    names = [c.kind for c in TableEncoder().fit(df).columns_ for _ in c.outputs()]
    assert [t == 'category' for t in plain.dtypes] == [KINDS[n].categorical for n in names]
    for name, kind in KINDS.items():
        if kind.numeric: assert plain.iloc[:, names.index(name)].notna().sum() == len(kind.example) - 1, f'numbers() of {kind.column.__name__} reads nothing'
    same(plain.iloc[:4, names.index('number')], [1.5, 2, np.nan, 4])

# --- a kind of one's own

class RatingColumn(NumberColumn):
    "Stars, as a number."
    kind = 'rating'
    def _read(self, s, unreadable):
        return parse_distinct(s, lambda keys: [float(k.count('★')) if set(k) <= {'★', '☆'} else np.nan for k in keys], self.name, unreadable)
    def decode(self, z): return np.array([None if np.isnan(x) else '★' * int(x) for x in super().decode(z)], dtype=object)
    def numbers(self, s): return self._read(s, [])

@pytest.fixture
def rating():
    kinds = dict(KINDS)
    register_kind(ColumnKind(RatingColumn, 'ratings in stars', 'number of stars', label='stars', numeric=True, example=('★', '★★', None, '★★★'),
                             text=lambda keys: all(set(k) <= {'★', '☆'} for k in keys)))
    yield KINDS['rating']
    KINDS.clear(); KINDS.update(kinds)

STARS = ['★', '★★☆', None, '★★★']

def table(n=40):
    r = np.random.default_rng(0)
    df = pd.DataFrame(dict(stars=[STARS[i] for i in r.integers(0, 4, n)], x=r.normal(size=n)))
    return df, np.where((df.stars == '★★★') | (df.x > 1), 'good', 'bad')

def test_a_toy_passes_the_tests_of_all_kinds(rating):
    test_a_record_is_complete('rating')
    test_a_kind_is_recognised_encoded_described_saved_and_read_back('rating')

def test_a_toy_is_used_end_to_end(rating, tmp_path):
    df, y = table()
    enc = TableEncoder().fit(df)
    assert enc.column_kinds_ == dict(stars='rating', x='number') and not enc.categorical_mask_.any()
    z = enc.transform(df)
    assert (z[df.stars == '★★★', 0] > z[df.stars == '★', 0].max()).all() and np.isnan(z[df.stars.isna(), 0]).all()
    with pytest.warns(UserWarning, match="'stars' .1, such as 'five'"): enc.transform(df[:3].assign(stars=['★', 'five', None]))
    same(TableEncoder.from_state(enc.state_dict()).transform(df), z)
    same(pickle.loads(pickle.dumps(enc)).transform(df), z)
    assert enc.decode(z).stars.dropna().tolist() == df.stars.dropna().str.replace('☆', '').tolist()
    pipe = TabularPipeline(model_params=dict(pretrained='small')).fit(df, y)
    summary = pipe.show_processing_summary().set_index('column')
    assert (summary.kind['stars'], summary.done['stars']) == ('rating', 'number of stars')
    again = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    same(again.predict_proba(df), pipe.predict_proba(df))
    steps = TableProcessor(imputation_strategy='mean', scaling_strategy='standard').fit(df, (y == 'good').astype(int))
    assert processing_summary(steps).done[0] == 'number of stars, mean for missing cells, standard scaling'

def test_a_toy_reaches_baselines_and_the_form(rating):
    from tabtune.estimators.adapted import PlainTable
    from tabtune.widgets.form_fields import describe_column
    df, _ = table()
    plain = PlainTable().fit(df).transform(df)
    assert sorted(plain.x0.dropna().unique()) == [1, 2, 3]
    about = describe_column(df.stars)
    assert (about['kind'], about['about']) == ('rating', 'ratings in stars')  # the name that column_types takes

def test_a_toy_that_is_not_registered_can_not_be_loaded(rating, tmp_path):
    df, y = table()
    state = TableEncoder().fit(df).state_dict()
    path = TabularPipeline(model_params=dict(pretrained='small')).fit(df, y).save(tmp_path/'p.tabtune')
    del KINDS['rating']
    assert column_kind(df.stars) == 'category'
    for load in (lambda: TableEncoder.from_state(state), lambda: TabularPipeline.load(path)):
        with pytest.raises(CheckpointError, match="column 'stars' is of kind 'rating', which is not registered"): load()

def test_a_kind_that_has_gone_is_named(rating):
    pipe = TabularPipeline(tuning_strategy='inference', model_params=dict(d_model=32, num_layers=1))
    pipe.fit(pd.DataFrame(dict(stars=['★', '★★'] * 6, a=range(12))), [0, 1] * 6)
    del KINDS['rating']
    with pytest.raises(InputError, match="the kind of column 'rating' is not registered"): pipe.show_processing_summary()

def test_a_kind_can_be_tried_before_another(rating):
    class Small(NumberColumn): kind = 'small'
    register_kind(ColumnKind(Small, 'whole numbers of one byte', numeric=True, dtype=lambda t: t == 'int8'), before='number')
    df = pd.DataFrame(dict(a=np.int8([1, 2]), b=[1, 2]))
    assert column_kinds(df) == ['small', 'number'] and [type(c) for c in TableEncoder().fit(df).columns_] == [Small, NumberColumn]
    assert list(KINDS).index('small') + 1 == list(KINDS).index('number')
    register_kind(dataclasses.replace(KINDS['small'], description='bytes'))  # the same name: replaced
    assert list(KINDS).count('small') == 1 and KINDS['small'].description == 'bytes'

def test_records_are_checked_when_they_are_registered():
    for column in (dict, Column):
        with pytest.raises(InputError, match='must be a subclass of Column with a name'): register_kind(ColumnKind(column, 'nothing'))
    with pytest.raises(InputError, match="before='nothing' is unknown"): register_kind(ColumnKind(RatingColumn, 'stars'), before='nothing')
    for wrong, words in ((RatingColumn, 'is no ColumnKind'), (ColumnKind('number', 'nothing'), "column='number' of a ColumnKind must be a class"),
                         (ColumnKind(RatingColumn, 'stars', text='*'), r"text='\*' of a ColumnKind must be a function"),
                         (ColumnKind(RatingColumn, 'stars', inferred='floating'), "inferred='floating' of a ColumnKind must be a tuple")):
        with pytest.raises(InputError, match=words): register_kind(wrong)
    with pytest.raises(dataclasses.FrozenInstanceError): KINDS['number'].label = 'numbers'
    assert 'rating' not in KINDS
