"The app in JupyterLab, from an upload to a CSV: two fixes, tuned, reloaded in the middle, compared with another model, taken home; and back after the kernel died."
import re

import pandas as pd
from access import look
from servers import SHOTS
from test_app_page import HOSTILE, people  # noqa: F401 (a fixture)
from test_dashboards import KERNEL, arrives, command, open_notebook, run_cell, save, until, write_notebook

from tabtune import TabularPipeline

def test_the_whole_way_in_lab(page, lab, home, people, tmp_path):
    write_notebook(home/'page.ipynb', "import tabtune\npage = tabtune.app(folder='work')\npage")
    work = home/'work'; work.mkdir(exist_ok=True)
    open_notebook(page, lab, 'page.ipynb'); run_cell(page, 'tabtune.app')
    view = page.locator('.jp-OutputArea').first
    button = lambda name: view.get_by_role('button', name=name, exact=True).locator('visible=true').first
    tab = lambda name: view.locator('.lm-TabBar-tab', has_text=name).first.click()
    said = lambda text: view.get_by_text(text).locator('visible=true').first.wait_for()
    upload = lambda name: view.get_by_role('button', name=name).locator('visible=true').first.click()
    shot = lambda name: look(page, f'lab-app-{name}')
    with page.expect_file_chooser() as chooser: upload('Upload a file')
    chooser.value.set_files(tmp_path/'people.csv'); said('people.csv: 90 rows')
    button('leave out').click(); said('3 of 4 are used')
    view.get_by_label('kind of town').select_option('text'); shot('open')
    tab('Choose'); button('Better').click(); said('all weights are tuned'); shot('choose')
    button('Start').click(); until(lambda: view.get_by_text(re.compile('· training')).locator('visible=true').count(), 'the training')
    save(page, home/'page.ipynb'); page.reload(); view.locator('.lm-TabBar-tab').first.wait_for()  # the page is there again, with what goes on
    tab('Watch'); shot('watch'); tab('Judge'); arrives(view.get_by_text('rows that it did not see')); button('Similar training rows').wait_for()
    page.wait_for_function('alt => [...document.images].some(i => i.alt.startsWith(alt) && i.naturalWidth > 100)', arg='how good'); shot('judge')
    assert view.get_by_text(re.compile('Mitra was tuned on 6[78] rows')).locator('visible=true').count()
    view.get_by_label('RandomForest', exact=True).check(); button('Compare').click(); arrives(view.get_by_text(re.compile('^(It is|On these rows).* RandomForest')))
    button('Similar training rows').click(); said('share of the vote'); shot('other models')
    tab('Use')
    with page.expect_file_chooser() as chooser: upload('Upload new rows')
    chooser.value.set_files(tmp_path/'new.csv'); said('11 rows of'); shot('use')
    with page.expect_download() as csv: view.get_by_text('Download new-predicted.csv').click()
    with page.expect_download() as excel: view.get_by_text('Download new-predicted.xlsx').click()
    button('Download the model').click()
    with page.expect_download() as model: view.get_by_text(re.compile('Download model.tabtune')).click()
    model.value.save_as(tmp_path/'model.tabtune')
    button('Report').click()
    with page.expect_download() as report: view.get_by_text('Download people-report.html').click()
    tab('Remember'); button('Compare').click(); said('Mitra: accuracy'); shot('remember')
    back = pd.read_csv(csv.value.path()); assert list(back.prediction) == list(TabularPipeline.load(tmp_path/'model.tabtune').predict(people[:11]))
    excel.value.save_as(tmp_path/'new.xlsx'); assert list(pd.read_excel(tmp_path/'new.xlsx').prediction) == list(back.prediction)
    text = open(report.value.path(), encoding='utf-8').read(); assert '<img src=x' not in text and 'RandomForest' in text
    assert page.title() != '1' and not list(work.glob('*.csv')), 'a name was run, or rows were left in the working folder'

def test_a_killed_kernel_goes_on(page, lab, home):
    table = "import tabtune, os, numpy as np, pandas as pd\nx = np.random.default_rng(0).normal(size=(200, 3)).round(3)\nd = pd.DataFrame(x, columns=list('abc')).assign(y=np.where(x.sum(1) > 0, 'yes', 'no'))\n"
    start = "page = tabtune.app(d, folder='again')\npage.session.form.set(strategy='base-ft', d_model=32, num_layers=1, epochs=200, steps_per_epoch=10, batch_size=1, support_size=64, query_size=32, early_stopping=False)\npage"
    (home/'again').mkdir(exist_ok=True); write_notebook(home/'again.ipynb', table + start)
    view = page.locator('.jp-OutputArea').first
    button = lambda name: view.get_by_role('button', name=name, exact=True).locator('visible=true').first
    tab = lambda name: view.locator('.lm-TabBar-tab', has_text=name).first.click()
    open_notebook(page, lab, 'again.ipynb'); run_cell(page, 'tabtune.app'); tab('Choose'); button('Start').click()
    until(lambda: list((home/'again').glob('runs/*/checkpoints/state.pt')), 'a checkpoint')
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()"); page.wait_for_function(KERNEL)
    command(page, 'notebook:run-all-cells'); view.get_by_text('a table: 200 rows').locator('visible=true').wait_for()
    tab('Remember'); view.locator('option', has_text='interrupted').first.wait_for(); view.locator('select').locator('visible=true').first.select_option(index=0)
    page.screenshot(path=SHOTS/'lab-app-interrupted.png')
    button('Go on').click(); until(lambda: view.get_by_text(re.compile('· training')).locator('visible=true').count(), 'the run to go on')
    button('Stop').click(); arrives(view.get_by_text('rows that it did not see'))
