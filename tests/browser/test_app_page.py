"The app as a person sees it: `tabtune app` under Voila, from a file that nobody prepared to a CSV of predictions."
import re, subprocess, sys, urllib.request

import numpy as np
import pandas as pd
import pytest
from access import assert_accessible
from servers import SHOTS, environment, free_port
from test_dashboards import arrives, until

from tabtune import TabularPipeline

HOSTILE = '<img src=x onerror="document.title=1">'

@pytest.fixture
def people(tmp_path):
    "A table with an id, decimal commas, a name that is HTML, and new rows of the same kind."
    rng = np.random.default_rng(0)
    d = pd.DataFrame({'id': np.arange(90) + 1000, 'age': rng.integers(18, 80, 90), 'town': rng.choice(['Rome', 'Oslo'], 90), HOSTILE: rng.normal(size=90).round(3)})
    d['bought'] = np.where(d.age + rng.normal(0, 9, 90) > 50, 'yes', 'no')
    for name, t in (('people.csv', d), ('new.csv', d.drop(columns='bought')[:11])): t.to_csv(tmp_path/name, index=False, sep=';', decimal=',')
    return d

@pytest.fixture
def address(browser, people, tmp_path, tmp_path_factory):
    "Where the app answers."
    command = [sys.executable, '-m', 'tabtune.cli', 'app', 'people.csv', '--port', str(free_port()), '--no-browser']
    p = subprocess.Popen(command, env=environment(tmp_path_factory.mktemp('home')), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try: yield next(found[0] for line in p.stdout if (found := re.search(r'http\S+token=\S+', line)))
    finally: p.terminate(); p.wait(30)

def test_from_a_file_to_predictions(page, address, people, tmp_path):
    def shot(name): page.screenshot(path=SHOTS/f'app-{name}.png', full_page=True); assert_accessible(page, f'{name} under Voila', None)
    tab = lambda name: page.locator('.lm-TabBar-tab', has_text=name).first.click()
    button = lambda name: page.get_by_role('button', name=name, exact=True).locator('visible=true').first
    def answers():
        try: return urllib.request.urlopen(address.split('?')[0], timeout=2).url
        except OSError: return ''
    assert 'login' in until(answers, 'the server')  # without its token it shows nothing
    page.goto(address); page.get_by_text('people.csv: 90 rows').wait_for()
    button('leave out').click(); page.get_by_text('3 of 4 are used').wait_for(); shot('open')
    tab('Choose'); page.get_by_text('about').first.wait_for(); shot('choose')
    button('Start').click()
    arrives(page.get_by_text('test rows that it did not see')); shot('judge')
    assert page.locator('img[alt^="how good"]').locator('visible=true').count() == 1
    tab('Use'); button('Predict').click(); page.get_by_text('11 rows of').wait_for(); shot('use')
    with page.expect_download() as csv: page.get_by_text('Download new-predicted.csv').click()
    button('Download the model').click()
    with page.expect_download() as model: page.get_by_text('Download model.tabtune').click()
    model.value.save_as(tmp_path/'model.tabtune')
    back, pipe = pd.read_csv(csv.value.path()), TabularPipeline.load(tmp_path/'model.tabtune')
    assert list(back.prediction) == list(pipe.predict(people[:11])) and HOSTILE in back
    np.testing.assert_allclose(back['probability_yes'], pipe.predict_proba(people[:11])[:, 1], atol=1e-6)
    tab('Remember'); page.get_by_role('option', name='people.csv').locator('visible=true').first.wait_for(); shot('remember')
    tab('Open')
    with page.expect_file_chooser() as chooser: page.get_by_role('button', name='Upload a file').click()
    chooser.value.set_files(tmp_path/'new.csv'); page.get_by_text('new.csv: 11 rows').wait_for()
    until(lambda: not page.locator('[title="null"]').count(), 'tooltips that do not say null')
    assert page.title() != '1' and page.evaluate('document.documentElement.scrollWidth - window.innerWidth') <= 0
