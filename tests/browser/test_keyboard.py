"The app in JupyterLab by keys alone, from a table to a run."
import re

from access import Keyboard
from test_app_page import people  # noqa: F401 (a fixture)
from test_dashboards import arrives, open_notebook, run_cell, until, write_notebook

def test_keys_alone_lead_to_a_run(page, lab, home, people, tmp_path):
    (home/'keys').mkdir(exist_ok=True); (tmp_path/'people.csv').rename(home/'keys'/'people.csv')
    write_notebook(home/'keys.ipynb', "import tabtune\npage = tabtune.app('keys/people.csv', folder='keys')\npage")
    open_notebook(page, lab, 'keys.ipynb'); run_cell(page, 'tabtune.app')
    view, keys = page.locator('.tabtune-live'), Keyboard(page)
    said = lambda text: view.get_by_text(text).locator('visible=true').first.wait_for()
    said('people.csv: 90 rows'); page.wait_for_timeout(500)  # names.js completes the page
    page.keyboard.press('Escape')
    keys.to('1 Open'); n, names = keys.controls(view), keys.walk()
    assert len(names) >= n and names.index('Upload a file') < names.index('All') < names.index('id'), names
    view.get_by_role('tab', name='1 Open').focus(); keys.to('leave out'); page.keyboard.press('Enter'); said('3 of 4 are used')
    assert page.locator('.jp-Notebook .jp-Cell').count() == 1
    keys.to('kind of age'); page.keyboard.press('t'); said('3 of 4 are used'); page.keyboard.press('n')  # in JupyterLab some letters cut or insert a cell
    assert page.locator('.jp-Notebook .jp-Cell').count() == 1, 'a key on a menu went to the notebook'
    keys.to('1 Open', 'Shift+Tab'); page.keyboard.press('ArrowRight'); page.keyboard.press('Enter'); said('Judge by')
    keys.to('Better'); page.keyboard.press('Space'); said('all weights are tuned')
    keys.to('Test share', 'Shift+Tab'); page.keyboard.press('ArrowRight'); said('30%')
    keys.to('Expert'); page.keyboard.press('Enter'); said('sizes with pre-trained weights')
    keys.to('Model'); page.keyboard.press('ArrowRight'); page.keyboard.press('Enter'); said('steps_per_epoch')
    n, names = keys.controls(view), keys.walk()
    assert {'epochs', 'early_stopping', 'Start'} <= {*names}, names
    keys.to('early_stopping', 'Shift+Tab'); page.keyboard.press('Space'); keys.to('epochs', 'Shift+Tab'); page.keyboard.press('End')  # a run that lasts
    keys.to('Start', 'Shift+Tab'); page.keyboard.press('Enter')
    at = lambda name: until(lambda: keys.focus()['name'] == name, f'the focus on {name}')
    at('3 Watch'); view.get_by_text(re.compile('· training')).locator('visible=true').wait_for(); keys.to('Stop'); page.keyboard.press('Enter'); arrives(view.get_by_text('rows that it did not see'))
    at('4 Judge'); names = keys.walk(); assert {'Threshold', 'RandomForest', 'Compare', 'Similar training rows'} <= {*names}, names
    view.get_by_role('tab', name='4 Judge').focus(); keys.to('Threshold'); page.keyboard.press('ArrowRight'); said('0.51')
    keys.to('RandomForest'); page.keyboard.press('Space'); keys.to('Compare'); page.keyboard.press('Enter'); arrives(view.get_by_text(re.compile('^(It is|On these rows).* RandomForest')))
    at('Compare'); keys.to('4 Judge', 'Shift+Tab'); page.keyboard.press('ArrowRight'); page.keyboard.press('Enter')
    keys.to('Download the model'); page.keyboard.press('Enter'); said(re.compile('Download model.tabtune'))
    keys.to('5 Use', 'Shift+Tab'); page.keyboard.press('ArrowRight'); page.keyboard.press('Enter')
    keys.to('Compare'); page.keyboard.press('Enter'); said('Mitra: accuracy')
