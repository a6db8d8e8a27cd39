"The tutorial in JupyterLab and under Voila: clicked through, watched, stopped, saved."
import json, subprocess, sys, time

import pytest
from servers import SHOTS, free_port, server

CELL, OUT = '.jp-Notebook .jp-CodeCell', '.jp-OutputArea-output'

def until(f, what, seconds=120):
    "Wait for something that a page does in its own time."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := f(): return found
        time.sleep(0.1)
    raise AssertionError(f'waited {seconds} s in vain for: {what}')

def shot(page, name): page.screenshot(path=SHOTS/f'{name}.png')

def open_notebook(page, lab, name):
    page.goto(lab.format(name))
    page.wait_for_selector(CELL)
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status=idle]')
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")

def command(page, name, **args):
    "Give a command to JupyterLab; not waiting, since a run cell is done only when its code is."
    page.evaluate('([n, a]) => { window.jupyterapp.commands.execute(n, a) }', [name, args])

def code_cell(page, words): return page.locator(CELL).filter(has=page.locator('.cm-content', has_text=words)).first

def run_cell(page, words):
    "Run the cell that holds these words; again if the kernel was not there yet."
    cell = code_cell(page, words)
    def started():
        cell.locator('.cm-content').click(); command(page, 'notebook:run-cell')
        end = time.monotonic() + 5
        while time.monotonic() < end and (there := cell.locator('.jp-InputPrompt').inner_text().strip()) == '[ ]:': time.sleep(0.1)
        return there != '[ ]:'
    until(started, f'the cell with {words!r} to run')

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
    command(page, 'docmanager:save'); time.sleep(1.5)
    return json.loads(path.read_text())

def image_bytes(view): return view.evaluate("i => fetch(i.src).then(r => r.arrayBuffer()).then(b => Array.from(new Uint8Array(b)).join())")

def test_builder_in_lab(page, lab, home):
    open_notebook(page, lab, 'dashboards.ipynb')
    run_cell(page, 'load_wine'); run_cell(page, 'builder = PipelineBuilder')
    form = code_cell(page, 'builder = PipelineBuilder').locator('.jp-OutputArea').first
    button = lambda name: form.get_by_role('button', name=name, exact=True)
    tab = lambda name: form.locator('.lm-TabBar-tab', has_text=name).click()
    button('Start').wait_for()
    form.scroll_into_view_if_needed(); shot(page, 'builder-data')
    tab('Model'); shot(page, 'builder-model')
    tab('Tuning')
    form.locator('select').locator('visible=true').first.select_option(label='base-ft: tune all weights')
    form.get_by_text('passes of steps_per_epoch steps').wait_for(); shot(page, 'builder-tuning')
    run_new(page, "builder.set(epochs=20, steps_per_epoch=100, n_episodes=100000, batch_size=1, learning_rate=1e-4); 'set'")
    form.scroll_into_view_if_needed()
    button('Start').click()
    view = form.locator('img.widget-image').locator('visible=true')
    first = until(lambda: view.count() and image_bytes(view), 'a picture')
    until(lambda: image_bytes(view) != first, 'another picture')
    time.sleep(6); shot(page, 'training')
    assert run_new(page, '6 * 7') == '42'  # the kernel is free
    assert run_new(page, "builder.state()['status']") == "'running'"
    button('Pause').click(); form.get_by_text('paused').wait_for()
    button('Resume').click(); form.get_by_text('· training').wait_for()
    button('Stop').click()
    form.get_by_text('On the test rows').wait_for(); shot(page, 'results')
    button('Copy as code').click()
    assert 'TabularPipeline(' in form.locator('textarea.tabtune-code').input_value()
    command(page, 'apputils:change-theme', theme='JupyterLab Dark'); time.sleep(1); shot(page, 'results-dark')
    tab('Training'); time.sleep(0.5); shot(page, 'training-dark'); tab('Data'); time.sleep(0.5); shot(page, 'builder-data-dark')
    command(page, 'apputils:change-theme', theme='JupyterLab Light')
    kept = [o for c in save(page, home/'dashboards.ipynb')['cells'] for o in c.get('outputs', [])]
    assert sum('image/png' in o.get('data', {}) for o in kept) >= 2, 'curves and results stay in the saved notebook'
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
RACE = """board = TabularLeaderboard(X[::2], X[1::2], y[::2], y[1::2])
board.add_model('Mitra', model_params=dict(d_model=32, num_layers=1)); board.add_model('LogisticRegression'); board.add_model('RandomForest')
LeaderboardView(board)"""
ATTENTION = "AttentionView(TabularPipeline().fit(X[::2], y[::2]), X[1::2], table=X[::2])"

def test_views_in_lab(page, lab, home):
    write_notebook(home/'views.ipynb', NUMBERS, WINES, 'PriorView()', RACE, ATTENTION)
    open_notebook(page, lab, 'views.ipynb')
    page.set_viewport_size(dict(width=1280, height=1000))
    def show(words, name, done=lambda out: None, theme='Light'):
        out = code_cell(page, words).locator('.jp-OutputArea').first
        if theme == 'Light': run_cell(page, words)
        out.locator('.jupyter-widgets').first.wait_for(); done(out)
        out.scroll_into_view_if_needed(); time.sleep(0.3); out.screenshot(path=SHOTS/f'{name}.png')
        return out
    form = show('load_diabetes', 'numbers')
    form.get_by_role('button', name='Start', exact=True).click(); form.get_by_text('On the test rows').wait_for()
    form.screenshot(path=SHOTS/'numbers-results.png')
    show('EpisodeView(X', 'episode'); show('PriorView()', 'prior')
    race = show('LeaderboardView(b', 'leaderboard', lambda out: (out.get_by_role('button', name='Start', exact=True).click(), out.get_by_text('3 of 3 models').wait_for()))
    show('AttentionView(T', 'attention', lambda out: out.locator('select').select_option(index=7))
    command(page, 'apputils:change-theme', theme='JupyterLab Dark'); time.sleep(1)
    for words, name in (('load_diabetes', 'numbers'), ('EpisodeView(X', 'episode'), ('PriorView()', 'prior'), ('LeaderboardView(b', 'leaderboard'), ('AttentionView(T', 'attention')):
        show(words, f'{name}-dark', theme='Dark')

LOAD = """from sklearn.datasets import load_wine
from tabtune import TabularPipeline
X, y = load_wine(return_X_y=True)"""
FIT = """pipe = TabularPipeline(tuning_strategy='base-ft', tuning_params=dict(epochs=10, steps_per_epoch=30, batch_size=1, early_stopping=False))
pipe.fit(X, y); pipe.tuning_report_['ended']"""

def test_fit_shows_itself(page, lab, home):
    cells = [dict(cell_type='code', id=f'c{i}', metadata={}, execution_count=None, outputs=[], source=s) for i, s in enumerate([LOAD, FIT])]
    (home/'fit.ipynb').write_text(json.dumps(dict(cells=cells, metadata=dict(kernelspec=dict(name='python3', display_name='Python 3')), nbformat=4, nbformat_minor=5)))
    open_notebook(page, lab, 'fit.ipynb')
    run_cell(page, 'load_wine')
    page.wait_for_function("() => document.querySelectorAll('.jp-InputPrompt')[0].innerText.trim() == '[1]:'")
    run_cell(page, 'pipe = TabularPipeline')
    page.locator('img.widget-image').wait_for(); time.sleep(3); shot(page, 'fit')
    button = lambda name: page.locator(OUT).get_by_role('button', name=name, exact=True)
    button('Pause').click(); page.locator(OUT).get_by_text('paused').wait_for()  # fit holds the kernel, and yet
    button('Resume').click(); page.locator(OUT).get_by_text('· training').wait_for()
    button('Stop').click()
    page.locator(OUT).get_by_text("'stopped'").wait_for()
    page.locator('.jp-RenderedImage img').wait_for(); shot(page, 'fit-done')
    outputs = save(page, home/'fit.ipynb')['cells'][1]['outputs']
    kinds = {k for o in outputs for k in o.get('data', {})}
    assert {'image/png', 'text/html'} <= kinds
    assert 'application/vnd.jupyter.widget-view+json' not in kinds, 'the picture takes the place of the widget'
    assert (home/'fit.ipynb').stat().st_size < 200_000

def test_voila(page, browser, home):
    pytest.importorskip('voila')
    port = free_port()
    command = [sys.executable, '-m', 'voila', str(home/'app.ipynb'), '--no-browser', f'--port={port}', '--Voila.ip=127.0.0.1']
    with server(command, f'http://127.0.0.1:{port}/voila/static/voila.js', home):
        page.goto(f'http://127.0.0.1:{port}/', timeout=120_000)
        page.get_by_role('button', name='Copy as code').first.wait_for(timeout=120_000)
        page.get_by_role('button', name='Copy as code').first.click()
        assert 'TabularPipeline(' in page.locator('textarea.tabtune-code').first.input_value()
        page.screenshot(path=SHOTS/'voila.png')
