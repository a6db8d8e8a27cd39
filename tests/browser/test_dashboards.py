"The tutorial in JupyterLab and under Voila: clicked through, watched, stopped, saved."
import json, sys, time
from importlib.util import find_spec

import pytest
from access import assert_accessible, look, use_theme
from servers import SHOTS, free_port, server

CELL, OUT = '.jp-Notebook .jp-CodeCell', '.jp-OutputArea-output'

def until(f, what, seconds=300):
    "Wait for something that a page does in its own time."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := f(): return found
        time.sleep(0.1)
    raise AssertionError(f'waited {seconds} s in vain for: {what}')

def arrives(place, seconds=300):
    "Wait for something at the end of a run: as long as the text of the page goes on changing."
    end, before = time.monotonic() + seconds, None
    while not place.locator('visible=true').count():
        now = place.page.evaluate('document.body.innerText')
        if now != before: end, before = time.monotonic() + seconds, now
        assert time.monotonic() < end, f'for {seconds} s nothing moved on the page, in vain waited for: {place}'
        place.page.wait_for_timeout(200)

def shot(page, name): page.screenshot(path=SHOTS/f'{name}.png')

KERNEL = """() => {
    const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel
    return kernel && kernel.connectionStatus == 'connected' && kernel.status == 'idle'
}"""

def open_notebook(page, lab, name):
    "Open a notebook and wait for its kernel: a cell run before would make JupyterLab ask for one in a dialog."
    page.goto(lab.format(name))
    page.wait_for_selector(CELL)
    page.wait_for_function(KERNEL)
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")

def command(page, name, **args):
    "Give a command to JupyterLab; not waiting, since a run cell is done only when its code is."
    page.evaluate('([n, a]) => { window.jupyterapp.commands.execute(n, a) }', [name, args])

def code_cell(page, text): return page.locator(CELL).filter(has=page.locator('.cm-content', has_text=text)).first

def run_cell(page, text):
    "Run the cell that holds this text, and wait until it has begun."
    cell = code_cell(page, text)
    cell.locator('.cm-content').click(); command(page, 'notebook:run-cell')
    until(lambda: cell.locator('.jp-InputPrompt').inner_text().strip() != '[ ]:', f'the cell with {text!r} to run')

def run_new(page, code):
    "Run code in a new cell at the end of the notebook; the text that it gives."
    before = page.locator(CELL).count(); command(page, 'notebook:insert-cell-below')
    until(lambda: page.locator(CELL).count() > before, 'a new cell')
    cell = page.locator('.jp-CodeCell.jp-mod-active')
    cell.locator('.cm-content').click(); page.keyboard.insert_text(code); command(page, 'notebook:run-cell')
    out = cell.locator(OUT)
    out.first.wait_for()
    return out.first.inner_text().strip()

def save(page, path):
    before = path.stat().st_mtime_ns
    command(page, 'docmanager:save')
    until(lambda: path.stat().st_mtime_ns > before and path.read_text().rstrip().endswith('}'), 'the notebook to be saved')
    return json.loads(path.read_text())

def image_bytes(view): return view.evaluate("i => fetch(i.src).then(r => r.arrayBuffer()).then(b => Array.from(new Uint8Array(b)).join())")

def drawn(canvas): return canvas.evaluate("c => c.toDataURL()")
def pictures(outputs): return sum(''.join(o.get('data', {}).get('text/html', '')).count('src="data:image/png') for o in outputs)

def test_builder_in_lab(page, lab, home):
    open_notebook(page, lab, 'dashboards.ipynb')
    run_cell(page, 'load_wine'); run_cell(page, 'builder = PipelineBuilder')
    form = code_cell(page, 'builder = PipelineBuilder').locator('.jp-OutputArea').first
    button = lambda name: form.get_by_role('button', name=name, exact=True)
    tab = lambda name: form.locator('.lm-TabBar-tab', has_text=name).click()
    button('Start').wait_for()
    form.scroll_into_view_if_needed(); shot(page, 'builder-data'); assert_accessible(page, 'columns')
    tab('Model'); shot(page, 'builder-model'); assert_accessible(page, 'model')
    tab('Tuning')
    form.locator('select').locator('visible=true').first.select_option(label='base-ft: tune all weights')
    form.get_by_text('passes of steps_per_epoch steps').wait_for(); look(page, 'builder-tuning')
    run_new(page, "builder.set(epochs=20, steps_per_epoch=100, n_episodes=100000, batch_size=1, learning_rate=1e-4); 'set'")
    form.scroll_into_view_if_needed()
    button('Start').click()
    view = form.locator('.tabtune-large canvas').locator('visible=true')
    first = until(lambda: view.count() and drawn(view), 'a picture')
    until(lambda: drawn(view) != first, 'another picture')
    look(page, 'training')
    assert run_new(page, '6 * 7') == '42'  # the kernel is free
    assert run_new(page, "builder.state()['status']") == "'running'"
    button('Pause').click(); form.get_by_text('paused').wait_for()
    button('Resume').click(); form.get_by_text('· training').wait_for()
    button('Stop').click()
    arrives(form.get_by_text('On the test rows')); look(page, 'results')
    button('Copy as code').click()
    assert 'TabularPipeline(' in form.locator('textarea.tabtune-code').input_value()
    kept = [o for c in save(page, home/'dashboards.ipynb')['cells'] for o in c.get('outputs', [])]
    assert pictures(kept) >= 2, 'curves and results stay in the saved notebook'
    assert len(json.dumps(kept)) < 400_000

def write_notebook(path, *cells):
    cells = [dict(cell_type='code', id=f'c{i}', metadata={}, execution_count=None, outputs=[], source=s) for i, s in enumerate(cells)]
    path.write_text(json.dumps(dict(cells=cells, metadata=dict(kernelspec=dict(name='python3', display_name='Python 3')), nbformat=4, nbformat_minor=5)))

NUMBERS = """from sklearn.datasets import load_diabetes, load_wine
from tabtune import TabularLeaderboard, TabularPipeline
from tabtune.dashboard import AttentionView, EpisodeView, LeaderboardView, PipelineBuilder, PriorView
form = PipelineBuilder(load_diabetes(as_frame=True, scaled=False).frame.iloc[:200], target='target')
form"""
WINES = """X, y = load_wine(return_X_y=True, as_frame=True)
y = y.map(dict(enumerate(['Barolo', 'Grignolino', 'Barbera'])))
EpisodeView(X, y)"""
LEADERBOARD = """board = TabularLeaderboard(X[::2], X[1::2], y[::2], y[1::2])
board.add_model('Mitra', model_params=dict(d_model=32, num_layers=1)); board.add_model('LogisticRegression'); board.add_model('RandomForest')
LeaderboardView(board)"""
ATTENTION = "AttentionView(TabularPipeline().fit(X[::2], y[::2]), X[1::2], table=X[::2])"

def view_of(page, text): return code_cell(page, text).locator('.jp-OutputArea').first

def picture(page, out, name):
    "A picture of one output."
    out.evaluate("e => e.scrollIntoView({block: 'start'})")
    page.screenshot(path=SHOTS/f'{name}.png')

def test_views_in_lab(page, lab, home):
    write_notebook(home/'views.ipynb', NUMBERS, WINES, 'PriorView()', LEADERBOARD, ATTENTION)
    open_notebook(page, lab, 'views.ipynb')
    cells = ('load_diabetes', 'EpisodeView(X', 'PriorView()', 'LeaderboardView(b', 'AttentionView(T')
    for text in cells: run_cell(page, text)
    form, episode, prior, leaderboard, attention = views = [view_of(page, text) for text in cells]
    for out in views: out.locator('.jupyter-widgets').first.wait_for()
    picture(page, form, 'numbers')
    form.get_by_role('button', name='Start', exact=True).click(); arrives(form.get_by_text('On the test rows'))
    assert form.get_by_text('rmse', exact=True).locator('visible=true').count(), 'numbers have scores of their own'
    picture(page, form, 'numbers-results')
    picture(page, episode, 'episode')
    before = image_bytes(prior.locator('.tabtune-live img')); prior.get_by_role('button', name='Draw again').click()
    until(lambda: image_bytes(prior.locator('.tabtune-live img')) != before, 'other tables')
    picture(page, prior, 'prior')
    leaderboard.get_by_role('button', name='Start', exact=True).click(); arrives(leaderboard.get_by_text('3 of 3 models'))
    leaderboard.locator('select').select_option(label='fit_seconds'); picture(page, leaderboard, 'leaderboard')
    rows = lambda: attention.locator('table').last.inner_text()
    before = rows(); attention.locator('select').locator('option').nth(40).click()
    until(lambda: rows() != before, 'what another query attention at')
    picture(page, attention, 'attention')
    assert_accessible(page, 'views'); use_theme(page, True); assert_accessible(page, 'views, dark')
    for out, name in zip(views, ('numbers', 'episode', 'prior', 'leaderboard', 'attention')): picture(page, out, f'{name}-dark')

LOAD = """from sklearn.datasets import load_wine
from tabtune import TabularPipeline
X, y = load_wine(return_X_y=True)"""
FIT = """pipe = TabularPipeline(tuning_strategy='base-ft', tuning_params=dict(epochs=300, steps_per_epoch=30, batch_size=1, early_stopping=False))
pipe.fit(X, y); pipe.tuning_report_['ended']"""

def test_fit_shows_itself(page, lab, home):
    write_notebook(home/'fit.ipynb', LOAD, FIT)
    open_notebook(page, lab, 'fit.ipynb')
    run_cell(page, 'load_wine')
    page.wait_for_function("() => document.querySelectorAll('.jp-InputPrompt')[0].innerText.trim() == '[1]:'")
    run_cell(page, 'pipe = TabularPipeline')
    page.locator('.tabtune-large canvas').wait_for(); look(page, 'fit')
    button = lambda name: page.locator(OUT).get_by_role('button', name=name, exact=True)
    button('Pause').click(); page.locator(OUT).get_by_text('paused').wait_for()  # fit holds the kernel, and yet
    button('Resume').click(); save(page, home/'fit.ipynb'); page.reload()
    page.locator('.tabtune-large canvas').wait_for()  # the live view comes back by itself, with buttons that answer
    button('Pause').click(); page.locator(OUT).get_by_text('paused').wait_for()
    button('Resume').click(); page.locator(OUT).get_by_text('· training').wait_for()
    button('Stop').click()
    page.locator('.tabtune-copy img').locator('visible=true').wait_for(); look(page, 'fit-done')
    outputs = save(page, home/'fit.ipynb')['cells'][1]['outputs']
    kinds = {k for o in outputs for k in o.get('data', {})}
    assert pictures(outputs) and 'text/html' in kinds
    assert 'application/vnd.jupyter.widget-view+json' not in kinds, 'the picture takes the place of the widget'
    assert (home/'fit.ipynb').stat().st_size < 200_000

def app_of(path):
    "The tutorial up to its form: an app under Voila, which runs every cell."
    nb = json.loads(path.read_text())
    at = next(i for i, c in enumerate(nb['cells']) if c['cell_type'] == 'code' and 'builder.set(' in ''.join(c['source']))
    path.write_text(json.dumps(nb | dict(cells=nb['cells'][:at])))

def test_voila(page, browser, home):
    if not find_spec('voila'): pytest.skip('voila is missing')  # importing it here would take seconds
    app_of(home/'app.ipynb')
    port = free_port()
    command = [sys.executable, '-m', 'voila', str(home/'app.ipynb'), '--no-browser', f'--port={port}', '--Voila.ip=127.0.0.1']
    with server(command, f'http://127.0.0.1:{port}/voila/static/voila.js', home):
        page.goto(f'http://127.0.0.1:{port}/')
        button = lambda name: page.get_by_role('button', name=name, exact=True)
        button('Copy as code').wait_for(); button('Copy as code').click()
        assert 'TabularPipeline(' in page.locator('textarea.tabtune-code').input_value()
        button('Start').click(); arrives(page.get_by_text('On the test rows', exact=True)); shot(page, 'voila'); assert_accessible(page, 'the form under Voila')
