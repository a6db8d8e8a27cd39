"A real JupyterLab, a real Voila, and a headless Chromium that clicks."
import os, shutil, subprocess, sys, warnings

import pytest
from servers import ROOT, SHOTS, free_port, server

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')

SHORT = ('test_from_a_file_to_predictions', 'test_fit_shows_itself')  # a walk under Voila and one in JupyterLab: `make test` goes no others

def pytest_collection_modifyitems(config, items):
    "All walks where they are asked for (`make browser`, `pytest tests/browser`), else the two short ones."
    if any('browser' in str(a) for a in config.args): return
    longer = [i for i in items if i.path.parent.name == 'browser' and i.originalname not in SHORT]
    items[:] = [i for i in items if i not in longer]
    config.hook.pytest_deselected(items=longer)

def chromium(): return next((p for n in NAMES if (p := shutil.which(n))), None)

def install_chromium():
    "Try to install Chromium: only as root, only where apt-get is."
    if not (shutil.which('apt-get') and hasattr(os, 'geteuid') and os.geteuid() == 0): return
    run = lambda *args: subprocess.run(['apt-get', *args], capture_output=True, timeout=180, env=os.environ | dict(DEBIAN_FRONTEND='noninteractive'))
    try:
        run('update', '-q')
        run('install', '-y', '-q', '--no-install-recommends', 'chromium', 'fonts-dejavu-core')
    except (OSError, subprocess.TimeoutExpired): pass

def skip(why):
    "Skip so that nobody can miss it."
    warnings.warn(f'BROWSER TESTS SKIPPED: {why}')
    print(f'\n*** BROWSER TESTS SKIPPED: {why} ***', file=sys.__stderr__, flush=True)
    pytest.skip(why)

@pytest.fixture(scope='session')
def browser():
    "A headless Chromium, or a loud skip."
    try: from playwright.sync_api import sync_playwright
    except ImportError: skip("playwright is missing (pip install playwright)")
    if not chromium(): install_chromium()
    if not chromium(): skip('no Chromium here and none could be installed (Debian, Ubuntu: apt-get install chromium)')
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium(), args=['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'])
        yield b
        b.close()

@pytest.fixture(scope='session')
def home(tmp_path_factory):
    "A folder with the tutorial."
    folder = tmp_path_factory.mktemp('lab')
    for name in ('dashboards.ipynb', 'app.ipynb'): shutil.copy(ROOT/'nbs'/'tutorials'/'04_dashboards.ipynb', folder/name)
    quiet = folder/'settings'/'@jupyterlab'/'apputils-extension'/'notification.jupyterlab-settings'
    quiet.parent.mkdir(parents=True); quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    SHOTS.mkdir(parents=True, exist_ok=True)
    return folder

@pytest.fixture(scope='session')
def lab(browser, home):
    "The address of a JupyterLab on that folder."
    port, token = free_port(), 'secret'
    command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip', '127.0.0.1', '--port', str(port), '--ServerApp.port_retries=0',
               f'--IdentityProvider.token={token}', f'--ServerApp.root_dir={home}', '--LabApp.expose_app_in_browser=True', '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate',
               f'--LabApp.workspaces_dir={home}/workspaces', f'--LabApp.user_settings_dir={home}/settings']
    with server(command, f'http://127.0.0.1:{port}/api?token={token}', home): yield f'http://127.0.0.1:{port}/lab/tree/{{}}?token={token}&reset'

@pytest.fixture
def page(browser, request):
    "A page of 1280 pixels; what it shows at the end of a test is kept."
    page = browser.new_page(viewport=dict(width=1280, height=900))
    page.set_default_timeout(300_000)  # other work beside the tests can make a kernel slow
    dialog = page.locator('.jp-Dialog', has_text='Select Kernel')  # on a slow machine JupyterLab may ask: take what it proposes
    page.add_locator_handler(dialog, lambda: dialog.locator('.jp-mod-accept').click())
    yield page
    page.screenshot(path=SHOTS/f'end-{request.node.name}.png')
    page.close()
