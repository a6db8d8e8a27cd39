"Every view of the registry is complete, and a new one takes two places: a class and a record."
import dataclasses, importlib, inspect, json, pkgutil, re

import ipywidgets as w
import pytest
from code_host import assert_survives

import tabtune.dashboard, tabtune.widgets
from tabtune.core.shapes import InputError
from tabtune.widgets.elements import button
from tabtune.widgets.registry import WIDGETS, WidgetRecord, register_widget
from tabtune.widgets.view import View

WIDGET = 'application/vnd.jupyter.widget-view+json'
HOSTILE = '<script>alert("x")</script>'

@pytest.fixture(scope='module')
def examples():
    "An example of each view, made once; its text is HTML that must not get through."
    return {name: record.example(HOSTILE) for name, record in WIDGETS.items()}

@pytest.fixture(params=WIDGETS)
def example(request, examples): return examples[request.param]

def descendants(widget):
    "A widget and all that it holds."
    yield widget
    for child in getattr(widget, 'children', ()): yield from descendants(child)

@pytest.mark.parametrize('name', WIDGETS)
def test_a_record_is_complete(name):
    record = WIDGETS[name]
    assert record.name == name == record.view.__name__ and record.title and record.title != View.title
    assert record.description.endswith('.') and len(record.description) <= 120
    assert getattr(tabtune.dashboard, name) is record.view and name in tabtune.dashboard.__all__ and name in dir(tabtune.dashboard)
    with pytest.raises(dataclasses.FrozenInstanceError): record.view = View

def test_no_public_view_is_left_without_a_record():
    modules = [importlib.import_module(f'tabtune.widgets.{m.name}') for m in pkgutil.iter_modules(tabtune.widgets.__path__)]
    public = {name for m in modules for name in m.__all__ if inspect.isclass(c := getattr(m, name)) and issubclass(c, View)}
    assert public - {'View', *WIDGETS} == set()

def test_a_view_has_a_widget_and_a_plain_state(example):
    assert isinstance(example, View) and isinstance(example.widget, w.Widget)
    state = example.state()
    assert state and json.loads(json.dumps(state, allow_nan=False)) == state

def test_a_view_leaves_one_copy_that_needs_no_kernel(example, displayed):
    example._ipython_display_()
    live, copy = (slot[-1] for slot in displayed)
    assert list(live) == [WIDGET, 'text/html'] and live['text/html'].endswith('<span class="tabtune-over"></span>'), 'a page that knows no widgets shows nothing twice'
    assert list(copy) == ['text/html', 'text/plain'] and 'tabtune-copy' in copy['text/html'] and '<script' not in copy['text/html']
    assert all('alt="' in tag and 'src="data:image/png' in tag for tag in re.findall('<img[^>]*>', copy['text/html']))
    static = example.static()
    assert static['text/plain'] and ('image/png' not in static or static['image/png'] in copy['text/html'])
    assert len(json.dumps(copy)) < 250_000
    assert_survives([live, copy])
    example.update_output()
    assert displayed[1][-1] is not copy, 'it is brought up to date'

def test_text_of_the_user_is_escaped(example):
    shown = [d.value for d in descendants(example.widget) if isinstance(d, w.HTML)] + [example.static().get('text/html', '')]
    assert not [text for text in shown if '<script>' in text]
    assert any('&lt;script&gt;' in text for text in shown) == WIDGETS[type(example).__name__].shows_text

def test_an_idle_view_can_be_stopped(example): assert example.stop() is None

class Counter(View):
    "Counts clicks."
    title = 'a counter'
    def __init__(self, text): self.text, self.clicks, self.widget = text, 0, button(text, self.count)
    def count(self): self.clicks += 1
    def state(self): return dict(text=self.text, clicks=self.clicks)

@pytest.fixture
def counter():
    "A view of one's own in the registry, for the time of a test."
    register_widget(WidgetRecord(Counter, Counter))
    yield WIDGETS['Counter']
    del WIDGETS['Counter']

def test_a_new_view_takes_a_class_and_a_record(counter, displayed):
    assert tabtune.dashboard.Counter is Counter and 'Counter' in dir(tabtune.dashboard)
    assert (counter.title, counter.description) == ('a counter', 'Counts clicks.')
    view = counter.example(HOSTILE)
    view.widget.click()
    test_a_view_has_a_widget_and_a_plain_state(view)
    test_a_view_leaves_one_copy_that_needs_no_kernel(view, displayed)
    test_text_of_the_user_is_escaped(view)
    assert view.state()['clicks'] == 1 and '<script>' not in view.static()['text/html'] and view.stop() is None
    with pytest.raises(AttributeError, match='Nonesuch'): tabtune.dashboard.Nonesuch

class Untitled(View):
    "It has no title."
    def state(self): return {}

class Stateless(View):
    "It has no state."
    title = 'nothing'

class Undocumented(Counter): pass

@pytest.mark.parametrize('view, example, problem', [
    (dict, dict, 'no subclass of View'), (Untitled, Untitled, 'Untitled has no title'), (Stateless, Stateless, r'Stateless has no state\(\)'),
    (Undocumented, Undocumented, 'Undocumented has no docstring'), (Counter, 'x', "example='x' is no function")],
    ids=['no view', 'no title', 'no state', 'no docstring', 'no example'])
def test_an_incomplete_record_is_refused(view, example, problem):
    with pytest.raises(InputError, match=problem): WidgetRecord(view, example)

def test_what_is_no_record_is_refused():
    with pytest.raises(InputError, match='is no WidgetRecord'): register_widget(Counter)

def test_matplotlib_comes_with_the_first_picture(fresh):
    done = fresh("import sys, tabtune.dashboard; print('matplotlib' in sys.modules)")
    assert done.stdout == 'False\n', done.stderr
