"""Columns as they come: amounts in frames, numbers among words, dates in any order, text in parts, levels in other spellings.

Each kind of cell is scored against the same numbers or dates in plain form: nothing may get lost on the way.
"""
import json, operator, time, warnings

import numpy as np
import pandas as pd
import pytest
from fastcore.test import test as check
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from tabtune import MitraClassifier, MitraRegressor, TabularPipeline
from tabtune.core.shapes import ConfigError, InputError
from tabtune.data.encode import TableEncoder
from tabtune.data.kinds import column_kind
from tabtune.data.processing import TableProcessor

N, SPLIT = 900, 600
RNG = np.random.default_rng(7)
AMOUNT = np.round(RNG.lognormal(6, 1.5, N), 2)
RICH = (np.log(AMOUNT) + .55 * RNG.logistic(size=N) > 6).astype(int)
SIGNED = np.where(RNG.random(N) < .3, -AMOUNT, AMOUNT)

def codes(cells, **columns):
    "What the encoder makes of a column, and the column."
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        enc = TableEncoder(columns.pop('column_types', None)).fit(pd.DataFrame({'a': list(cells), **columns}))
    return enc.transform(pd.DataFrame({'a': list(cells), **columns})), enc.columns_[0]

def auc(table, y):
    "Held-out AUC of the small model."
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        clf = MitraClassifier('small', device='cpu').fit(table[:SPLIT], y[:SPLIT])
        return roc_auc_score(y[SPLIT:], clf.predict_proba(table[SPLIT:])[:, 1])

# --- numbers in a frame

def swapped(text): return text.translate(str.maketrans(',.', '.,'))

FRAMES = {
    'dollar': lambda v: f'${v:,.2f}', 'dollar minus': lambda v: f'-${-v:,.2f}' if v < 0 else f'${v:,.2f}', 'euro behind': lambda v: swapped(f'{v:,.2f}') + ' €',
    'unit': lambda v: f'{v:.2f} kg', 'unit without blank': lambda v: f'{v:.2f}km/h', 'percent': lambda v: f'{v:.2f}%', 'percent, decimal comma': lambda v: f'{v:.2f} %'.replace('.', ','),
    'currency code': lambda v: f'{v:,.2f} USD', 'code before': lambda v: f'CHF {v:,.2f}'.replace(',', "'"), 'apostrophe': lambda v: f'{v:,.2f}'.replace(',', '\u2019'),
    'no-break blank': lambda v: f'{v:,.2f}'.replace(',', '\u00a0').replace('.', ','), 'thin blank': lambda v: f'{v:,.2f}'.replace(',', '\u202f'), 'blank': lambda v: f'{v:,.2f}'.replace(',', ' '),
    'parentheses': lambda v: f'({-v:,.2f})' if v < 0 else f'{v:,.2f}', 'dollar in parentheses': lambda v: f'(${-v:,.2f})' if v < 0 else f'${v:,.2f}',
    'unicode minus': lambda v: f'{v:,.2f}'.replace('-', '\u2212'), 'trailing minus': lambda v: f'{abs(v):,.2f}' + '-' * int(v < 0), 'plus': lambda v: f'{v:+,.2f}',
    'decimal comma': lambda v: f'{v:.2f}'.replace('.', ','), 'thousands only': lambda v: f'{v:,.2f}', 'exponent': lambda v: f'{v:.6e} J', 'per mille': lambda v: f'{v:.2f} ‰',
    'about': lambda v: f'~{v:.2f}', 'underscores': lambda v: f'{v:_.2f}', 'real': lambda v: 'R$ ' + swapped(f'{v:,.2f}'), 'some without a unit': lambda v: f'{v:.2f}' + ' mg' * int(v % 1 > .1), 'half magnitudes': lambda v: f'{v / 1000:.5f}k' if abs(v) > 500 else f'{v:.2f}'}

@pytest.mark.parametrize('name', FRAMES)
def test_a_number_in_a_frame_is_a_number(name):
    z, c = codes([FRAMES[name](v) for v in SIGNED])
    want, _ = codes(SIGNED)
    assert c.kind == 'number'
    np.testing.assert_allclose(z[:, 0], want[:, 0], atol=1e-4)

@pytest.mark.parametrize('name', ['dollar', 'euro behind', 'thin blank'])
def test_amounts_predict_as_numbers_do(name):
    check(auc(pd.DataFrame(dict(a=[FRAMES[name](v) for v in AMOUNT])), RICH), auc(pd.DataFrame(dict(a=AMOUNT)), RICH) - .01, operator.gt)

def test_indian_groups_and_bounds_of_installations():
    z, c = codes(['12,34,567', '1,00,000', '5,000', '2,50,000.5'])
    np.testing.assert_allclose(c.numbers(pd.Series(['12,34,567', '5,000'])), [1234567, 5000])
    z, c = codes(['1,000+', '5,000+', '10,000+', '50,000,000+'])
    assert c.kind == 'number' and z.shape[1] == 1  # all are bounds of one kind: nothing to say

TWO_WAYS = {'others have a decimal comma': (['1,234', '0,5', '17,25'], 1.234), 'others have a point': (['1,234', '0.5', '17.25'], 1234),
            'longer groups': (['1,234', '1,234,567'], 1234), 'bare thousands': (['1,234', '5678'], 1.234), 'bare numbers below': (['1,234', '56', '999'], 1234),
            'point in a frame': (['€1.234', '€56,5'], 1234)}

@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('name', TWO_WAYS)
def test_other_cells_decide_what_a_comma_is(name):
    cells, value = TWO_WAYS[name]
    assert TableEncoder().fit(pd.DataFrame(dict(a=cells))).columns_[0].numbers(pd.Series(cells))[0] == value

def test_a_comma_that_nothing_decides_is_said():
    df = pd.DataFrame(dict(price=['1,234', '5,678', '12,345']))
    with pytest.warns(UserWarning, match="'price': '1,234' may have two meanings, and no cell decides: '.' is taken as the decimal mark") as seen: enc = TableEncoder().fit(df)
    assert len(seen) == 1 and enc.columns_[0].numbers(df.price).tolist() == [1234, 5678, 12345] and 'two meanings' in enc.summary().note[0]

NO_NUMBERS = {'letters and digits': ['A12', 'A13', 'B7'], 'ranges': ['3-4', '5-6', '10-14'], 'ranges of percent': ['10%-20%', '20%-30%', '0%-10%'], 'versions': ['1.2.3', '1.10.2', '2.0.0'],
              'telephone': ['+49 170 1234567', '+49 171 2345678', '+49 172 3456789'], 'telephone with brackets': ['(555) 123-4567', '(555) 123-9876'],
              'telephone in blocks': ['612 345 678', '613 345 679', '699 123 456'], 'two levels that are bounds': ['<50K', '>50K', '<50K'], 'ordinals': ['1st', '2nd', '3rd'],
              'blood pressure': ['120/80', '130/85', '110/70'], 'quarters': ['Q1', 'Q2', 'Q3'], 'units of different kinds': ['5 kg', '7 m', '$3'], 'addresses': ['10.0.0.1', '10.0.0.2'],
              'lists of numbers': ['1,2,3', '4,5', '6,7,8,9'], 'versions with v': ['v1', 'v2', 'v10'], 'years of a season': ['2019-20', '2020-21', '2021-22'], 'scores': ['2:1', '0:3', '1:1'],
              'words': ['one', 'two', 'three'], 'mixed codes': ['101', '102A', 'B7', 'C12'], 'coordinates': ['12.5, 13.2', '14.1, 9.9'], 'plates': ['M-AB 123', 'B-XY 99'],
              'diagnoses': [f'E{i // 3}.{i}' for i in range(20)], 'rooms': [f'Room {i}' for i in range(20)], 'releases': [f'v1.{i}' for i in range(20)], 'lists in brackets': ['[3,4]', '[5,6]', '[7,8]']}

@pytest.mark.parametrize('name', NO_NUMBERS)
def test_codes_are_no_numbers(name):
    assert column_kind(pd.Series(NO_NUMBERS[name] * 30)) == 'category'

PLAIN = {'integers': ['3', '1', '2'], 'decimals': ['1.234', '5.678', '0.5'], 'leading zeros': ['001', '002', '010'], 'exponents': ['1e3', '2.5E-2', '7'], 'blanks around': [' 1', '2 ', ' 3 '],
         'days as numbers': ['20240314', '20240401', '20231231'], 'epochs': ['1700000000', '1700086400', '1699999999'], 'years': ['2019', '2020', '2021']}

@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('name', PLAIN)
def test_plain_numbers_are_read_as_ever(name):
    enc = TableEncoder().fit(pd.DataFrame(dict(a=PLAIN[name])))
    c = enc.columns_[0]
    assert (c.kind, c.format, c.note()) == ('number', None, '')
    np.testing.assert_array_equal(c.numbers(pd.Series(PLAIN[name])), [float(v) for v in PLAIN[name]])

# --- numbers among words, and bounds

JUNK = {'a word': ['unknown'], 'a dash': ['-'], 'of a spreadsheet': ['#N/A'], 'many': ['unknown'] * 60, 'several': ['n.d.', '??', 'error']}

@pytest.mark.parametrize('frame', ['plain', 'dollar'])
@pytest.mark.parametrize('name', JUNK)
def test_a_few_words_among_numbers_are_missing(name, frame):
    cells = [{'plain': str}.get(frame, FRAMES.get(frame))(v) for v in AMOUNT]
    at = np.arange(len(JUNK[name])) * 13 + 7
    for i, word in zip(at, JUNK[name]): cells[i] = word
    df = pd.DataFrame(dict(a=cells))
    with pytest.warns(UserWarning, match=rf"became missing: 'a' \({len(at)}, such as {JUNK[name][0]!r}".replace('?', r'\?')) as seen: enc = TableEncoder().fit(df)
    assert len(seen) == 1 and enc.column_kinds_ == dict(a='number') and 'could not be read' in enc.summary().note[0]
    with warnings.catch_warnings(): warnings.simplefilter('error'); z = enc.transform(df)  # known by now
    assert np.flatnonzero(np.isnan(z[:, 0])).tolist() == at.tolist()
    with pytest.warns(UserWarning, match="became missing: 'a' .1, such as 'new word'"): enc.transform(df[:1].assign(a='new word'))

def test_a_word_costs_no_score():
    cells = [str(v) for v in AMOUNT]; cells[3] = 'unknown'
    check(auc(pd.DataFrame(dict(a=cells)), RICH), auc(pd.DataFrame(dict(a=AMOUNT)), RICH) - .01, operator.gt)

def test_fit_of_an_estimator_warns_once():
    df = pd.DataFrame(dict(a=['unknown', *map(str, AMOUNT[1:80])]))
    with pytest.warns(UserWarning) as seen: MitraClassifier('small').fit(df, RICH[:80])
    assert ['became missing' in str(w.message) for w in seen] == [True]

SHARES = {'too many words': ['x'] * 20 + ['1', '2'] * 40, 'more words than numbers': [f'word{i}' for i in range(20)] + ['0'] * 400}

@pytest.mark.parametrize('name', SHARES)
def test_words_that_are_levels_stay(name): assert column_kind(pd.Series(SHARES[name])) == 'category'

def test_bounds_are_numbers_and_one_more_column():
    cells = ['<0.1' if v < 100 else '>5000' if v > 5000 else f'{v}' for v in AMOUNT]
    z, c = codes(cells)
    assert c.outputs() == ['a', 'a_bound'] and set(z[:, 1]) == {-1, 0, 1}
    np.testing.assert_array_equal(z[:, 1], (AMOUNT > 5000) * 1. - (AMOUNT < 100))
    assert (c.numbers(pd.Series(cells))[AMOUNT < 100] == .1).all() and 'bounds in' in c.note()
    z, c = codes(['< 1 year', '1 year', '2 years', '10+ years', '≥ 3 years', 'up to 4 years'])
    np.testing.assert_array_equal(z[:, 1], [-1, 0, 0, 1, 1, -1])
    z, c = codes(['<LOD', '2.5', '3.5', '>MAX', '7', '8'])
    assert c.numbers(pd.Series(['<LOD', '>MAX'])).tolist() == [2.5, 8] and z[:, 1].tolist() == [-1, 0, 0, 1, 0, 0]

# --- dates

WHEN = pd.Series(pd.Timestamp('2015-01-01') + pd.to_timedelta(RNG.integers(0, 6 * 365 * 24 * 3600, N), unit='s'))
LATE = ((WHEN - WHEN.min()).dt.days / 365 + .5 * RNG.logistic(size=N) > 3).astype(int)
FORMATS = ['%Y/%m/%d', '%Y.%m.%d', '%d-%b-%Y', '%d/%m/%Y', '%d.%m.%Y', '%m/%d/%Y %H:%M', '%m/%d/%Y', '%d %B %Y', '%B %d, %Y', '%b %d %Y %I:%M%p', '%m/%d/%y %I:%M:%S %p', '%d/%m/%y', '%y-%m-%d', '%Y-%d-%m',
           '%a, %d %b %Y %H:%M:%S', '%d/%b/%Y:%H:%M:%S', '%a %b %d %H:%M:%S %Y', '%d.%m.%Y %H:%M:%S.%f', '%Y/%m/%dT%H:%M:%S']

@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('pattern', FORMATS)
def test_dates_are_read_in_the_order_that_the_column_has(pattern):
    cells = WHEN.dt.strftime(pattern)
    enc = TableEncoder().fit(pd.DataFrame(dict(a=cells)))
    want = pd.to_datetime(cells, format=pattern)
    assert enc.column_kinds_ == dict(a='date') and enc.summary().note[0].startswith('dates as %')
    got = enc.columns_[0]._read(cells, [])
    np.testing.assert_allclose(got, (want - pd.Timestamp(0)).dt.total_seconds(), atol=1e-5)

ZONES = {'offset': ('14/03/2020 10:30 +0100', '2020-03-14 09:30'), 'offset with a colon': ('14/03/2020 10:30:00-05:00', '2020-03-14 15:30'), 'Z': ('2020/03/14T10:30Z', '2020-03-14 10:30'),
         'name': ('14 Mar 2020 10:30 EST', '2020-03-14 15:30'), 'Berlin': ('14.3.2020 10:30 CET', '2020-03-14 09:30')}

@pytest.mark.parametrize('name', ZONES)
def test_time_zones(name):
    text, utc = ZONES[name]
    _, c = codes([text, text.replace('14', '15')])
    assert c.kind == 'date' and c._read(pd.Series([text]), [])[0] == pd.Timestamp(utc).timestamp()

NAMES = {'Danish': '14. marts 2020', 'Polish': '14 mar 2020', 'Turkish': '14 Mart 2020', 'Czech': '14. března 2020', 'Finnish': '14. maaliskuuta 2020', 'Greek': '14 Μαρτίου 2020', 'Roman': '14.III.2020', 'German': '14. März 2020', 'French': '14 mars 2020', 'Spanish': '14 de marzo de 2020', 'Italian': '14 marzo 2020', 'Dutch': '14 maart 2020', 'ordinal': 'March 14th, 2020', 'upper case': '14 MAR 2020'}

@pytest.mark.parametrize('name', NAMES)
def test_names_of_months(name):
    _, c = codes([NAMES[name], NAMES[name].replace('14', '15')])
    assert c.kind == 'date' and c._read(pd.Series([NAMES[name]]), [])[0] == pd.Timestamp('2020-03-14').timestamp()

@pytest.mark.parametrize('pattern', ['%Y-%m-%d', '%d/%m/%Y'])
def test_bad_dates_are_missing(pattern):
    cells = WHEN.dt.strftime(pattern).astype(object); cells[::100] = '0000-00-00'; cells[5] = 'unknown'
    with pytest.warns(UserWarning, match="became missing: 'a' .10, such as '0000-00-00'"): enc = TableEncoder().fit(pd.DataFrame(dict(a=cells)))
    assert enc.column_kinds_ == dict(a='date') and np.isnan(enc.transform(pd.DataFrame(dict(a=cells)))[:, 0]).sum() == 10
    check(auc(pd.DataFrame(dict(a=cells)), LATE), auc(pd.DataFrame(dict(a=WHEN)), LATE) - .02, operator.gt)

def test_day_or_month_that_nothing_decides_is_said():
    df = pd.DataFrame(dict(when=['03/04/2020', '05/06/2021', '01/02/2020']))
    with pytest.warns(UserWarning, match="'when': no cell tells day from month: the day is taken to come first") as seen: enc = TableEncoder().fit(df)
    assert len(seen) == 1 and enc.columns_[0]._read(df.when, [])[0] == pd.Timestamp('2020-04-03').timestamp()
    assert "format='%m/%d/%Y'" in str(seen[0].message)
    with pytest.warns(UserWarning, match='the month is taken to come first'): c = TableEncoder().fit(pd.DataFrame(dict(when=[f'{d} 5:30 PM' for d in df.when]))).columns_[0]
    assert c._read(pd.Series(['03/04/2020 5:30 PM']), [])[0] == pd.Timestamp('2020-03-04 17:30').timestamp()

@pytest.mark.parametrize('cells', [pytest.param(['9:30', '21:15', '0:05'], id='hours and minutes'), pytest.param(['9:30:10', '21:15:00'], id='seconds'), pytest.param(['9:30 AM', '9:15 PM'], id='halves of the day')])
def test_times_of_a_day(cells): assert column_kind(pd.Series(cells)) == 'duration'

PARTS = {'day': WHEN.dt.day, 'minute': WHEN.dt.minute, 'hour': WHEN.dt.hour, 'day_of_week': WHEN.dt.day_of_week, 'day_of_year': WHEN.dt.day_of_year, 'month': WHEN.dt.month, 'second': WHEN.dt.second,
         'month end': WHEN.dt.is_month_end.astype(float)}

@pytest.mark.parametrize('name', PARTS)
def test_calendar_parts_are_seen(name):
    z = (PARTS[name] - PARTS[name].mean()) / PARTS[name].std()
    y = (3 * z + np.random.default_rng(1).logistic(size=N) > 0).astype(int)
    check(auc(pd.DataFrame(dict(a=WHEN)), y), roc_auc_score(y[SPLIT:], z[SPLIT:]) - .03, operator.gt)

def test_differences_of_dates_are_seen():
    days = np.random.default_rng(1).exponential(10, N)
    df = pd.DataFrame(dict(ordered=WHEN.dt.strftime('%d/%m/%Y'), price=AMOUNT, delivered=WHEN + pd.to_timedelta(days, unit='D')))
    y = (days / 3 + np.random.default_rng(2).logistic(size=N) > 2).astype(int)
    check(auc(df, y), roc_auc_score(y[SPLIT:], days[SPLIT:]) - .03, operator.gt)

@pytest.mark.parametrize('n, pairs', [pytest.param(1, 0, id='one date'), pytest.param(2, 1, id='two'), pytest.param(3, 3, id='three'), pytest.param(5, 4, id='five')])
def test_how_many_differences(n, pairs):
    df = pd.DataFrame({f'd{i}': WHEN + pd.to_timedelta(np.random.default_rng(i).integers(0, 999, N), unit='h') for i in range(n)})
    enc = TableEncoder().fit(df); z = enc.transform(df)
    names = enc.get_feature_names_out()
    assert sum(' - ' in o for o in names) == pairs == len(enc.differences_) and z.shape[1] == len(names) == len(enc.sources_) == len(enc.categorical_mask_)
    again = TableEncoder.from_state(json.loads(json.dumps(enc.state_dict(), default=np.ndarray.tolist)))
    assert again.transform(df[::-1]).tobytes() == z[::-1].tobytes()

# --- levels in other spellings

COLOURS = RNG.choice(['red', 'green', 'blue', 'dark grey'], N)
WARM = (np.isin(COLOURS, ['red', 'dark grey']) ^ (RNG.random(N) < .05)).astype(int)

@pytest.mark.parametrize('respell', [pytest.param(str.upper, id='case'), pytest.param(lambda t: f' {t}  ', id='blanks'), pytest.param(lambda t: t.title() + '\t', id='both'),
                                     pytest.param(lambda t: t + '\u200b', id='an invisible sign')])
def test_levels_are_matched_without_blanks_and_case(respell):
    df = pd.DataFrame(dict(a=COLOURS)); enc = TableEncoder().fit(df[:SPLIT])
    with pytest.warns(UserWarning, match=rf"levels were recognised, although blanks or case differ from those at fit: 'a' \({N - SPLIT}, such as") as seen:
        z = enc.transform(pd.DataFrame(dict(a=[respell(c) for c in COLOURS[SPLIT:]])))
    assert len(seen) == 1
    np.testing.assert_array_equal(z, enc.transform(df[SPLIT:]))

def test_levels_in_two_forms_of_unicode_are_one():
    assert len(TableEncoder().fit(pd.DataFrame(dict(a=['café', 'cafe\u0301', 'CAFÉ', 'tea', 'm²', 'm2'] * 9))).columns_[0].levels) == 4

def test_levels_are_merged_at_fit():
    cells = COLOURS.astype(object); cells[::3] = [c.upper() + ' ' for c in cells[::3]]
    enc = TableEncoder().fit(pd.DataFrame(dict(a=cells)))
    assert enc.columns_[0].levels == ['blue', 'dark grey', 'green', 'red'] and '4 spellings that differ in blanks or case only were merged' in enc.summary().note[0]
    np.testing.assert_array_equal(enc.transform(pd.DataFrame(dict(a=COLOURS))), TableEncoder().fit(pd.DataFrame(dict(a=COLOURS))).transform(pd.DataFrame(dict(a=COLOURS))))
    assert TableEncoder().fit(pd.DataFrame(dict(a=['a', 'A', 'b', 'a'] * 9))).columns_[0].levels == ['A', 'a', 'b']  # case of one letter may matter
    assert TableEncoder().fit(pd.DataFrame(dict(a=pd.Categorical(['red', 'RED'])))).columns_[0].levels == ['RED', 'red']  # levels that somebody declared

@pytest.mark.parametrize('share, warned', [pytest.param(.05, False, id='a few'), pytest.param(.3, True, id='many'), pytest.param(1., True, id='all')])
def test_unseen_levels_are_said_above_a_share(share, warned):
    enc = TableEncoder().fit(pd.DataFrame(dict(a=COLOURS)))
    later = pd.DataFrame(dict(a=np.where(np.arange(N) < share * N, 'violet', COLOURS)))
    with warnings.catch_warnings(record=True) as seen: warnings.simplefilter('always'); [*enc.blocks(later, 100)]
    assert [str(w.message) for w in seen] == [f"levels that fit never saw became missing: 'a' ({round(share * N)}, such as 'violet')"] * warned

def test_rare_levels_raise_no_alarm():
    towns = np.random.default_rng(0).zipf(1.3, 2000).astype(str)  # every later table has new ones
    s = pd.DataFrame(dict(a='t' + towns.astype(object)))
    assert TableEncoder().fit(s[:1000]).column_kinds_ == dict(a='category')
    with warnings.catch_warnings(): warnings.simplefilter('error'); TableEncoder().fit(s[:1000]).transform(s[1000:])

# --- text

def _label(r, s, noise=1.): return (s + noise * r.logistic(size=len(s)) > np.median(s)).astype(int)

def comments(r, n):
    good, bad = ['great', 'excellent', 'love it', 'works perfectly', 'superb'], ['terrible', 'broken', 'waste of money', 'disappointed', 'awful']
    other = ['the product', 'arrived on time', 'I bought this', 'for my sister', 'last week', 'in blue', 'packaging was fine', 'delivery', 'from the shop', 'second one', 'as a gift', 'size M']
    y = r.integers(0, 2, n)
    return [' '.join(r.permutation([*r.choice(other, r.integers(3, 7)), *r.choice(good if t ^ (r.random() < .07) else bad, r.integers(1, 3))])) for t in y], y

def random_words(r, n):
    vocabulary, w = [''.join(r.choice([*'abcdefghijklmnop'], 6)) for _ in range(40)], np.r_[[4., -4, 4, -4, 4, -4], np.zeros(34)]
    docs = [r.choice(40, 9) for _ in range(n)]
    return [' '.join(vocabulary[i] for i in d) for d in docs], _label(r, np.array([w[np.unique(d)].sum() for d in docs]))

def item_lists(sep):
    def make(r, n):
        w, has = 2.2 * r.normal(size=8), r.random((n, 8)) < .4
        return [sep.join(r.permutation([*'abcdefgh'])[[]] if not h.any() else r.permutation([c for c, b in zip('abcdefgh', h) if b])) for h in has], _label(r, has @ w)
    return make

def of_groups(write, groups):
    def make(r, n):
        g = r.integers(0, len(groups), n)
        return [write(r, groups[i]) for i in g], _label(r, 3 * r.permutation(np.linspace(-1, 1, len(groups)))[g])
    return make

def pick(r, *lists): return [str(r.choice(v)) for v in lists]
FIRST, LAST = ['anna', 'bob', 'carl', 'dora', 'emil', 'fred', 'gina', 'hans'], [''.join(np.random.default_rng(i).choice([*'abcdefghilmnorstu'], 6)) for i in range(200)]
TEXTS = {'comments': comments, 'random words': random_words, 'lists with semicolons': item_lists(';'), 'lists with commas': item_lists(', '), 'lists with bars': item_lists('|'),
         'prefixes': of_groups(lambda r, g: f'{g}{r.integers(1000, 9999)}', [*'ABCDEFGH']), 'long prefixes': of_groups(lambda r, g: f'{g}-{r.integers(10000, 99999)}', ['ORD', 'INV', 'RET', 'SUB', 'TST']),
         'e-mail addresses': of_groups(lambda r, g: '.'.join(pick(r, FIRST, LAST)) + f'{r.integers(99)}@{g}', ['gmail.com', 'yahoo.com', 'web.de', 'uni.edu', 'corp.example', 'mail.ru']),
         'names with titles': of_groups(lambda r, g: f'{r.choice(LAST).title()}, {g} {r.choice(FIRST).title()}', ['Mr.', 'Mrs.', 'Miss', 'Dr.', 'Master']),
         'IP addresses': of_groups(lambda r, g: f'{g}.{r.integers(255)}.{r.integers(255)}', ['10.0', '192.168', '172.16', '8.8', '203.0']),
         'addresses of pages': of_groups(lambda r, g: f'https://www.site{r.integers(50)}.com/{g}/{r.integers(9999)}.html', ['shop', 'blog', 'news', 'wiki']),
         'suffixes': of_groups(lambda r, g: f'{r.integers(1000, 9999)}{g}', ['XL', 'KM', 'QQ', 'ZR'])}

@pytest.mark.parametrize('name', TEXTS)
def test_text_scores_as_a_bag_of_words_does(name):
    cells, y = TEXTS[name](np.random.default_rng(3), N)
    df = pd.DataFrame(dict(a=cells))
    assert column_kind(df.a) == 'text'
    bags = [make_pipeline(CountVectorizer(binary=True, **how), LogisticRegression(max_iter=500)).fit(cells[:SPLIT], y[:SPLIT]).predict_proba(cells[SPLIT:])[:, 1]
            for how in (dict(token_pattern=r'(?u)\b\w+\b'), dict(analyzer='char_wb', ngram_range=(1, 3), min_df=3))]
    best = max(roc_auc_score(y[SPLIT:], p) for p in bags)
    check(auc(df, y), best - .03, operator.gt)

def test_scores_are_learned_only_from_targets_and_survive_saving(tmp_path):
    cells, y = comments(np.random.default_rng(0), 200)
    df = pd.DataFrame(dict(a=cells, b=np.arange(200.)))
    enc = TableEncoder()
    z, _ = enc.fit_rows(df, y, 'classification')
    assert enc.columns_[0].outputs()[-1] == 'a_score1' and z.shape[1] == len(enc.get_feature_names_out())
    assert not np.array_equal(z[:, -2], enc.transform(df)[:, -2])  # training rows: from models that have not seen them
    np.testing.assert_array_equal(np.delete(z, -2, 1), np.delete(enc.transform(df), -2, 1))
    assert 'a_score1' not in TableEncoder().fit(df, y).get_feature_names_out()
    again = TableEncoder.from_state(json.loads(json.dumps(enc.state_dict(), default=np.ndarray.tolist)))
    assert again.transform(df).tobytes() == enc.transform(df).tobytes()
    pipe = TabularPipeline(model_params=dict(pretrained='small')).fit(df, np.where(y, 'good', 'bad'))
    np.testing.assert_array_equal(TabularPipeline.load(pipe.save(tmp_path/'p.tabtune')).predict_proba(df), pipe.predict_proba(df))
    reg = MitraRegressor('medium-regression').fit(df, y + .5)
    assert reg.encoder_.columns_[0].outputs()[-1] == 'a_score1' and np.isfinite(reg.predict(df)).all()

def test_missing_and_empty_text():
    cells, y = comments(np.random.default_rng(0), 100)
    cells[3], cells[4] = None, ''
    enc = TableEncoder(); z, _ = enc.fit_rows(pd.DataFrame(dict(a=cells)), y, 'classification')
    assert np.isnan(z).all(1).nonzero()[0].tolist() == [3, 4] and np.isfinite(enc.transform(pd.DataFrame(dict(a=['never seen words'])))).all()

CATEGORIES = {'towns': ['Ulm', 'Bonn', 'Köln'] * 40, 'small and all different': [f'w{i}' for i in range(15)], 'many levels': [f'level {i % 40}' for i in range(400)], 'pairs': ['Ulm, Germany', 'Lyon, France'] * 40}

@pytest.mark.parametrize('name', CATEGORIES)
def test_text_that_repeats_is_a_category(name): assert column_kind(pd.Series(CATEGORIES[name])) == 'category'

# --- kinds that somebody gives

def test_column_types_are_taken():
    df = pd.DataFrame(dict(zip=['01067', '80331', '10115'] * 10, when=[20240314, 20240315, 20240401] * 10, note=['a b', 'b c', 'c d'] * 10, flag=['1', '0', '1'] * 10))
    types = dict(zip='category', when='date', note='text', flag='boolean')
    y = np.arange(30) % 2
    assert TableEncoder().fit(df).column_kinds_ == dict(zip='number', when='number', note='category', flag='number')
    for made in (TableEncoder(types), TableProcessor(column_types=types, imputation_strategy='median')): assert made.fit(df, y).column_kinds_ == types
    for est in (MitraClassifier('small', column_types=types), MitraClassifier('small', column_types=types, processor_params=dict(scaling_strategy='standard')),
                MitraRegressor(column_types=types)): assert est.fit(df, y * 1.).encoder_.column_kinds_ == types and est.get_params()['column_types'] == types
    assert TableEncoder({0: 'category', 'x1': 'date'}).fit(df.to_numpy()).column_kinds_ == dict(x0='category', x1='date', x2='category', x3='number')

def test_column_types_of_a_pipeline(tmp_path):
    from sklearn.base import clone
    df = pd.DataFrame(dict(zip=['01067', '80331', '10115'] * 10, x=np.arange(30.)))
    pipe = clone(TabularPipeline(model_params=dict(pretrained='small'), column_types=dict(zip='category'))).fit(df, df.zip)
    assert pipe.show_processing_summary().kind.tolist() == ['category', 'number']
    again = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    assert again.column_types == dict(zip='category') == again.estimator_.encoder_.column_types
    np.testing.assert_array_equal(again.predict_proba(df), pipe.predict_proba(df))
    assert again.fit(df, df.zip).estimator_.encoder_.column_kinds_['zip'] == 'category'

@pytest.mark.parametrize('types, error, text', [
    pytest.param(dict(zip='categry'), ConfigError, r"column_types\['zip'\]='categry' is unknown: did you mean 'category'", id='unknown kind'),
    pytest.param(dict(zpi='category'), InputError, "column_types names 'zpi', which is no column of the table: did you mean 'zip'", id='unknown column'),
    pytest.param(['zip'], ConfigError, 'must be a dict of kinds by name of column', id='a list'), pytest.param(dict(zip=3), ConfigError, 'is unknown', id='a number')])
def test_column_types_that_make_no_sense(types, error, text):
    df = pd.DataFrame(dict(zip=['1', '2'], x=[1., 2.]))
    for est in (TableEncoder(types), MitraClassifier('small', column_types=types), TabularPipeline(column_types=types)):
        with pytest.raises(error, match=text): est.fit(df, [0, 1])

# --- what somebody tried who wanted to break it

MORE_FRAMES = {
    'full width': lambda v: f'￥{v:.2f}'.translate({c: c + 0xfee0 for c in range(0x21, 0x7f)}), 'Arabic digits': lambda v: f'{v:.2f}'.translate(str.maketrans('0123456789.', '٠١٢٣٤٥٦٧٨٩٫')),
    'new currency': lambda v: f'₿{v:.2f}', 'percent before': lambda v: f'%{v:.2f}', 'quotation marks': lambda v: f'"{v:.2f}"', 'formula': lambda v: f'="{v:.2f}"', 'text mark': lambda v: f"'{v:.2f}",
    'footnotes': lambda v: f'{v:.2f}' + '*' * (int(v) % 3), 'references': lambda v: f'{v:.2f}' + '[a]' * (int(v) % 2), 'estimates': lambda v: f'{v:.2f} (est.)', 'tolerances': lambda v: f'{v:.2f} ± 0.1',
    'rates': lambda v: f'${v:,.2f}/mo', 'label': lambda v: f'Price: {v:.2f}', 'out of': lambda v: f'{v:.2f} out of 5 stars', 'powers': lambda v: f'{v / 100:.4f}×10²', 'Fortran': lambda v: f'{v:.6e}'.replace('e', 'D'),
    'sign behind the currency': lambda v: f'$({-v:.2f})' if v < 0 else f'${v:.2f}', 'minus in words': lambda v: f'minus {-v:.2f}' if v < 0 else f'{v:.2f}', 'credit and debit': lambda v: f'{abs(v):.2f} ' + ('DR' if v < 0 else 'CR'),
    'north and south': lambda v: f'{abs(v):.2f}° ' + ('S' if v < 0 else 'N'), 'crore and lakh': lambda v: f'{v / 100:.4f} Cr' if abs(v) > 500 else f'{v:.2f} Lac',
    'a currency of few': lambda v: f'{"-" * int(v < 0)}KSh {abs(v):,.2f}', 'a unit of few': lambda v: f'{v:.2f} kWh/(m²·a)', 'a unit with a number': lambda v: f'{v:.2f}Nm@ 2000rpm', 'another dollar': lambda v: f'NT${v:,.2f}',
    'triangles': lambda v: f'{"▼" if v < 0 else "▲"} {abs(v):.2f}%', 'brackets': lambda v: f'[{-v:,.2f}]' if v < 0 else f'{v:,.2f}', 'a triangle': lambda v: f'△{-v:.2f}' if v < 0 else f'{v:.2f}', 'credits': lambda v: f'{-v:.2f} CR' if v < 0 else f'{v:.2f}',
    'middle point': lambda v: f'{v:.2f}'.replace('.', '·'), 'megabits': lambda v: f'{v / 1000:.5f} Gbps' if abs(v) > 1000 else f'{v:.2f} Mbps', 'odds': lambda v: f'{v:.2f}:1', 'two spellings of a currency': lambda v: f'${v:.2f}' if v % 1 > .5 else f'USD {v:.2f}'}

@pytest.mark.parametrize('name', MORE_FRAMES)
def test_rarer_spellings_are_numbers(name):
    z, c = codes([MORE_FRAMES[name](v) for v in SIGNED])
    assert c.kind == 'number'
    np.testing.assert_allclose(z[:, 0], codes(SIGNED)[0][:, 0], atol=2e-4)

SPANS = 60 * np.round(RNG.exponential(100, N)) + 60
COMPOUND = {'h m': lambda v: f'{v // 3600}h {v // 60 % 60}m', 'words': lambda v: f'{v // 3600} hrs and {v // 60 % 60} minutes', 'ISO': lambda v: f'PT{v // 3600}H{v // 60 % 60}M', 'zeros left out': lambda v: ' '.join(filter(None, [f'{v // 3600}h' * (v >= 3600), f'{v // 60 % 60}min'])),
            'clock': lambda v: f'{v // 3600}:{v // 60 % 60:02}', 'clock with seconds': lambda v: f'{v // 3600}:{v // 60 % 60:02}:00', 'days and clock': lambda v: f'{v // 86400} days, {v // 3600 % 24:02}:{v // 60 % 60:02}:00', 'German': lambda v: f'{v // 3600} Stunden {v // 60 % 60} Minuten', 'French': lambda v: f'{v // 3600} heures {v // 60 % 60} minutes', 'minutes and hours': lambda v: f'{v // 60} min' if v < 7200 else f'{v / 3600:.6f} hours', 'quotes': lambda v: f"{v // 60 // 60}'{v // 60 % 60:02}\""}

@pytest.mark.parametrize('name', COMPOUND)
def test_spans_in_several_units_are_numbers(name):
    z, c = codes([COMPOUND[name](int(v)) for v in SPANS])
    assert c.kind == ('duration' if 'clock' in name else 'number')
    np.testing.assert_allclose(z[:, 0], codes(SPANS)[0][:, 0], atol=2e-4)

UNITS = {'feet': (["5'11\"", "6'1\"", "5'4\""], [71, 73, 64]), 'feet in words': (['5 ft 11 in', '6 ft 1 in', '5 ft'], [71, 73, 60]), 'ages': (['5y 9m', '2y 1m', '7m'], [69, 25, 7]), 'years or months': (['3 years', '7 months', '1 yr'], [36, 7, 12]),
         'tenors': (['3M', '1Y', '2Y'], [3, 12, 24]), 'pounds': (['6 lb 4 oz', '7 lbs 1 oz'], [100, 113]), 'ago': (['3 hours ago', '2 days ago', '5 minutes ago'], [10800, 172800, 300]), 'inches': (['5 7/8', '3 1/2', '4'], [5.875, 3.5, 4]),
         'degrees': (['10°30\'0"N', '5°15\'0"S'], [37800, -18900])}

@pytest.mark.parametrize('name', UNITS)
def test_values_of_several_units(name):
    cells, values = UNITS[name]
    np.testing.assert_allclose(codes(cells)[1].numbers(pd.Series(cells)), values)

@pytest.mark.parametrize('cells', [pytest.param(['12e45', '3e77', '45e49'], id='codes with an e'), pytest.param(['5-5-5842', '1-7-9120', '2-3-7741'], id='codes like dates'), pytest.param(['24 Mar', '3 Apr', '12 May'], id='days without a year')])
def test_codes_get_no_nonsense_values(cells): assert column_kind(pd.Series(cells * 20)) == 'category'

@pytest.mark.parametrize('words', [pytest.param(['-'], id='a dash'), pytest.param(['sin dato'], id='two words'), pytest.param(['n.a.', 'TBD', 'missing'], id='three')])
@pytest.mark.parametrize('kind', ['number', 'date'])
def test_marks_may_fill_a_third_of_the_cells(kind, words):
    cells = (pd.Series(AMOUNT) if kind == 'number' else pd.Series(WHEN).dt.strftime('%d/%m/%Y')).astype(str).to_numpy(object)
    cells[::3] = np.resize(words, len(cells[::3]))
    with pytest.warns(UserWarning, match="became missing: 'a' .300, such as"): assert TableEncoder().fit(pd.DataFrame(dict(a=cells))).column_kinds_ == dict(a=kind)

WEEK = WHEN.dt.isocalendar()
MORE_DATES = {'compact with a name': '%d%b%Y', 'SAS': '%d%b%Y:%H:%M:%S', 'compact with a time': '%Y%m%d_%H%M%S', 'ISO basic': '%Y%m%dT%H%M%SZ', 'file name': '%Y-%m-%d_%H-%M', 'Japanese': '%Y年%m月%d日', 'Korean': '%Y년 %m월 %d일', 'time first': '%H:%M %d/%m/%Y', 'points in the time': '%d/%m/%Y %H.%M',
              'weekday behind': '%d/%m/%Y (%a)', 'Apache': '[%d/%b/%Y:%H:%M:%S +0000]', 'Oracle': '%d-%b-%y %I.%M.%S.000000 %p', 'quotation marks': '"%Y-%m-%d"', 'month and short year': '%b-%y', 'short year in quotes': "%b '%y",
              'day of the year': '%Y-%j', 'camera': '%Y:%m:%d %H:%M:%S', 'Hungarian': '%Y. %m. %d.', 'zone in brackets': '%Y-%m-%dT%H:%M:%SZ[Etc/UTC]', 'halves first': '%d-%m-%Y %p %I:%M', 'hour': '%Y-%m-%d %H:00', 'at': '%d.%m.%Y @ %H:%M',
              'digits': '%Y%m%d', 'digits, day first': '%d%m%Y', 'digits, short year': '%y%m%d', 'digits with a time': '%Y%m%d%H%M%S', 'month with a point': '%m.%Y'}

@pytest.mark.parametrize('name', MORE_DATES)
def test_rarer_spellings_are_dates(name):
    cells = WHEN.dt.strftime(MORE_DATES[name])
    enc = TableEncoder().fit(pd.DataFrame(dict(a=cells)))
    assert enc.column_kinds_ == dict(a='date')
    unit = 's' if '%S' in MORE_DATES[name] else 'min' if '%M' in MORE_DATES[name] else 'h' if '%H' in MORE_DATES[name] else 'D'
    want = WHEN.dt.floor(unit) if '%d' in MORE_DATES[name] or '%j' in MORE_DATES[name] else WHEN.dt.to_period('M').dt.to_timestamp()
    np.testing.assert_allclose(enc.columns_[0].numbers(cells), (want - pd.Timestamp(0)) / pd.Timedelta('1s'))

@pytest.mark.parametrize('make', [pytest.param(lambda y, q, w: f'{y}Q{q}', id='2024Q1'), pytest.param(lambda y, q, w: f'Q{q} {y}', id='Q1 2024'), pytest.param(lambda y, q, w: f'{y}-W{w:02}', id='ISO weeks'), pytest.param(lambda y, q, w: f'KW {w}/{y}', id='German weeks'),
                                  pytest.param(lambda y, q, w: f'Q{q} FY{y % 100:02}', id='fiscal years'), pytest.param(lambda y, q, w: f'{q}. Quartal {y}', id='German quarters'), pytest.param(lambda y, q, w: f'H{(q + 1) // 2} {y}', id='half-years')])
def test_quarters_and_weeks_are_dates(make):
    z, c = codes([make(y, (t.month + 2) // 3, w) for t, y, w in zip(WHEN, WEEK.year, WEEK.week)])
    assert c.kind == 'date' and not np.isnan(z).any()

def test_iso_and_other_dates_in_one_column():
    cells = [t.strftime(['%Y-%m-%d', '%m/%d/%Y'][i % 2]) for i, t in enumerate(WHEN)]
    np.testing.assert_allclose(codes(cells)[1].numbers(pd.Series(cells)), (WHEN.dt.floor('D') - pd.Timestamp(0)) / pd.Timedelta('1s'))

@pytest.mark.parametrize('make', [pytest.param(lambda r, v: f'{r.choice(LAST)} paid {v:.2f} to {r.choice(LAST)}', id='amount in a sentence'), pytest.param(lambda r, v: f'{v:.4f}, {r.normal():.4f}', id='coordinates'), pytest.param(lambda r, v: f'user_{int(10 * v)}', id='growing code')])
def test_numbers_in_texts_are_seen(make):
    r = np.random.default_rng(2); v = 50 + 10 * r.normal(size=N); y = _label(r, v, 4.)
    check(auc(pd.DataFrame(dict(a=[make(r, u) for u in v])), y), auc(pd.DataFrame(dict(a=v)), y) - .02, operator.gt)

def test_random_identifiers_give_one_column():
    r = np.random.default_rng(0)
    df = pd.DataFrame(dict(a=[''.join(r.choice([*'0123456789abcdef'], 12)) for _ in range(300)], b=[f'user_{i}' for i in r.permutation(300)]))
    enc = TableEncoder(); z, _ = enc.fit_rows(df, r.integers(0, 2, 300), 'classification')
    assert enc.column_kinds_ == dict(a='text', b='text') and z.shape == (300, 2) and 'say nothing about the target' in enc.summary().note[0]

def test_the_order_of_the_rows_changes_nothing():
    r = np.random.default_rng(1)
    towns, (cells, y) = r.integers(0, 30, 300), comments(np.random.default_rng(0), 300)
    df = pd.DataFrame(dict(a=[f't{i}' for i in towns], b=cells, c=r.normal(size=300)))
    y = (y + (towns > 14) > 0).astype(int); at = r.permutation(300)
    first, second = (MitraClassifier('small').fit(df.iloc[i].reset_index(drop=True), y[i]).predict_proba(df) for i in (np.arange(300), at))
    np.testing.assert_allclose(first, second, atol=1e-3)

# --- all together, and how long it takes

def test_what_was_found_is_reported():
    df = pd.DataFrame(dict(price=[FRAMES['dollar'](v) for v in AMOUNT], when=WHEN.dt.strftime('%d/%m/%Y'), plain=AMOUNT, colour=COLOURS))
    with warnings.catch_warnings(): warnings.simplefilter('error'); enc = TableEncoder().fit(df)
    assert enc.summary().note.tolist() == ["numbers in the frame '$ …'", 'dates as %d/%m/%Y', '', '']

@pytest.mark.parametrize('name', ['dollar', 'dates', 'text', 'words and digits'])
def test_time_grows_with_the_rows_only(name):
    make = {'dollar': lambda i: f'${i * 7:,.2f}', 'dates': lambda i: f'{i % 28 + 1}/{i % 12 + 1}/{1000 + i % 2000} {i % 24}:{i % 60:02}', 'text': lambda i: f'user{i} wrote {i % 77} words', 'words and digits': lambda i: f'{i}x{i * 7}'}[name]
    def seconds(n):
        df = pd.DataFrame(dict(a=[make(i) for i in range(n)]))
        start = time.process_time(); TableEncoder().fit(df).transform(df); return time.process_time() - start
    seconds(500)
    small = min(seconds(1500) for _ in range(3))
    check(seconds(12_000), 30 * small, operator.lt)  # eight times the cells

# --- wide tables

def wide(n_columns, score, n=800, seed=0):
    "Normal columns, labels by a score of them, and the AUC of the score on the held-out rows."
    r = np.random.default_rng(seed)
    x = r.normal(size=(n + 600, n_columns))
    s = score(x[:, r.permutation(n_columns)])
    y = (s + r.logistic(size=len(s)) > 0).astype(int)
    return x[:n], y[:n], x[n:], y[n:], roc_auc_score(y[n:], s[n:])

@pytest.mark.parametrize('n_columns, score', [pytest.param(3000, lambda x: 1.2 * (x[:, 0] - x[:, 1] + x[:, 2] - x[:, 3]), id='four of 3,000'),
    pytest.param(1000, lambda x: 2.5 * np.sign(x[:, 0] * x[:, 1]), id='a pair of 1,000')])
def test_a_few_columns_among_many(n_columns, score):
    x, y, x_new, y_new, possible = wide(n_columns, score)
    pipe = TabularPipeline(model_params=dict(pretrained='small')).fit(x, y)
    check(roc_auc_score(y_new, pipe.predict_proba(x_new)[:, 1]), possible - .05, operator.gt)
    assert f'of {n_columns} inputs are used, those that say most' in pipe.describe()['findings'][0]

# --- a table of many kinds

def twelve_kinds(seed, n=1500):
    "A table as it comes, the same cleaned by hand, and labels that depend on twelve of its columns."
    r, raw, clean, parts = np.random.default_rng(seed), {}, {}, []
    def add(name, cells, cleaned, part):
        raw[name] = cells
        clean.update(cleaned if isinstance(cleaned, dict) else {name: cleaned})
        parts.append((part - np.mean(part)) / np.std(part))
    amount, rate, weight, lead, minutes = r.lognormal(6, 1, n).round(2), (100 * r.beta(2, 5, n)).round(1), r.normal(70, 12, n).round(1), r.lognormal(0, 1, n).round(2), r.integers(5, 400, n)
    add('price', [f'${v:,.2f}' for v in amount], amount, np.log(amount))
    add('rate', [f'{v:.1f} %'.replace('.', ',') for v in rate], rate, rate)
    add('weight', [f'{v} kg' if i % 12 else 'unknown' for i, v in enumerate(weight)], np.where(np.arange(n) % 12, weight, np.nan), weight)
    add('lead', [f'{v:.2f}' if v > .3 else '<0.30' for v in lead], lead.clip(.3), np.log(lead.clip(.3)))
    add('spent', [f'{v // 60}h {v % 60:02d}m' if v >= 60 else f'{v}m' for v in minutes], minutes, np.log(minutes))
    opened = pd.Series(pd.Timestamp('2021-01-01') + pd.to_timedelta(r.integers(0, 700 * 1440, n), unit='min'))
    add('opened', opened.dt.strftime('%d/%m/%Y %H:%M'), dict(opened=opened, month=opened.dt.month), opened.dt.month.between(5, 9).to_numpy().astype(float))
    days = r.gamma(2, 10, n)
    add('closed', (opened + pd.to_timedelta(days, unit='D')).dt.strftime('%Y-%m-%d'), dict(days=days.round()), np.log1p(days))
    domain, letter, colour = r.choice(['gmail.com', 'web.de', 'acme.org', 'uni.edu'], n), r.choice(list('ABCDEF'), n), r.choice(['red', 'green', 'blue', 'dark grey'], n)
    add('mail', [f'{v:x}@{d}' for v, d in zip(r.integers(2 ** 20, 2 ** 30, n), domain)], domain, np.isin(domain, ['acme.org', 'uni.edu']).astype(float))
    add('code', [f'{c}{v}' for v, c in zip(r.integers(1000, 9999, n), letter)], letter, np.isin(letter, list('ACE')).astype(float))
    add('colour', [[c.upper(), c, c.title(), f'{c} '][v] for v, c in zip(r.integers(0, 4, n), colour)], colour, np.isin(colour, ['red', 'blue']).astype(float))
    items, has = np.array(['wifi', 'pool', 'gym', 'bar', 'spa', 'pets']), r.random((n, 6)) < .4
    add('has', [';'.join(items[h]) for h in has], {f'has {i}': h.astype(int) for i, h in zip(items, has.T)}, has[:, 0] + has[:, 4] - has[:, 5].astype(float))
    fill, words, mood = 'the room was and staff desk night we came with food one two very again place'.split(), [['slow', 'dirty', 'rude'], ['great', 'clean', 'quick']], r.random(n)
    review = [' '.join([*r.choice(fill, 8), *r.choice(words[int(r.random() < m)], 2)]) for m in mood]
    counts = np.array([[sum(w in t.split() for w in ws) for t in review] for ws in words])
    add('review', review, dict(bad=counts[0], good=counts[1]), counts[1] - counts[0])
    score = np.array(parts).T @ r.choice([-.7, .7], len(parts))
    return pd.DataFrame(raw), pd.DataFrame(clean), (score + r.logistic(size=n) > 0).astype(int)

def test_a_table_of_twelve_kinds_is_as_good_as_one_cleaned_by_hand():
    raw, clean, y = twelve_kinds(0, 2400)
    scores = []
    for table in (raw, clean):
        clf = MitraClassifier('small', device='cpu').fit(table[:1000], y[:1000])
        scores.append(roc_auc_score(y[1000:], clf.predict_proba(table[1000:])[:, 1]))
    check(scores[0], scores[1] - .02, operator.gt)

# --- further kinds

def test_the_prefix_of_a_code_is_read():
    letter = np.random.default_rng(3).choice(list('ABCDEF'), N)
    y = (np.isin(letter, ['A', 'C', 'E']) ^ (np.random.default_rng(4).random(N) < .1)).astype(int)
    check(auc(pd.DataFrame(dict(a=[f'{c}{v}' for c, v in zip(letter, np.random.default_rng(5).permutation(9000))])), y), .87, operator.gt)  # .90 is possible

def test_differences_among_four_dates_are_those_that_matter():
    r = np.random.default_rng(3)
    start = pd.Series(pd.Timestamp('2020-01-01') + pd.to_timedelta(r.integers(0, 9999, N), unit='h'))
    dates = pd.DataFrame({n: start + pd.to_timedelta(r.gamma(2, 15, N) * i, unit='D') for i, n in enumerate('abcd')})
    days = (dates.d - dates.b).dt.total_seconds().to_numpy() / 86400
    z = 3 * (.7 - np.abs(days - days.mean()) / days.std())
    y = (z + .5 * r.logistic(size=N) > 0).astype(int)
    check(auc(dates.apply(lambda d: d.dt.strftime('%d/%m/%Y %H:%M')), y), roc_auc_score(y[SPLIT:], z[SPLIT:]) - .03, operator.gt)

def test_hexadecimal_numbers_and_quarters():
    z, c = codes([hex(v) for v in range(20, 2000, 7)])
    assert c.kind == 'number' and np.corrcoef(z[:, 0], np.arange(len(z)))[0, 1] > .999
    _, c = codes([f'Q{i % 4 + 1} {2015 + i // 4}' for i in range(40)])
    assert (c.kind, c.note()) == ('date', 'quarters or weeks, by their first days')

def test_a_merged_level_has_no_blanks_around_it():
    _, c = codes(['red ', 'red ', 'red', ' blue'] * 20)
    assert c.levels == [' blue', 'red'] and "such as 'red ' into 'red'" in c.note()  # ' blue' has one spelling: it stays as it is
