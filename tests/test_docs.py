"The site's own tools: pages made from the package, and the check of links."
import importlib.util

import pytest

def tool(root, name):
    spec = importlib.util.spec_from_file_location(f'docs_{name}', root/'docs'/f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

@pytest.fixture
def links(root): return tool(root, 'links')

@pytest.fixture
def build(root, tmp_path, monkeypatch):
    module = tool(root, 'build')
    monkeypatch.setattr(module, 'SRC', tmp_path/'src')
    return module

def site(folder, body, index='attention pipelin checkpoint'):
    (folder/'sub').mkdir()
    (folder/'index.html').write_text(body)
    (folder/'sub'/'page.html').write_text('<h1 id="top">x</h1> <a href="../index.html">back</a>')
    (folder/'searchindex.js').write_text(index)
    return folder

@pytest.mark.parametrize('body, wrong', [
    pytest.param('<a href="sub/page.html#top">a</a> <a href="https://example.org/x">b</a> <a id="h" href="#h">c</a> <a href="sub/../sub/page.html">d</a>', [], id='good links'),
    pytest.param('<a href="sub/other.html">a</a>', ['index.html: no page sub/other.html'], id='missing page'),
    pytest.param('<a href="sub/page.html#bottom">a</a>', ['index.html: no place sub/page.html#bottom'], id='missing anchor'),
    pytest.param('<img src="none.png">', ['index.html: no page none.png'], id='missing image')])
def test_links(links, tmp_path, body, wrong): assert [*links.problems(site(tmp_path, body))] == wrong

def test_an_empty_search_index_is_noticed(links, tmp_path): assert len([*links.problems(site(tmp_path, '', index=''))]) == 3

def test_every_setting_is_in_the_tables(build, root):
    from tabtune.core.config import MODEL_KEYS, TUNING_KEYS
    build.write_settings()
    text = (build.SRC/'pages'/'settings.md').read_text()
    assert '{{' not in text
    from tabtune.data.processing import PROCESSOR_KEYS
    for key in [*MODEL_KEYS, *TUNING_KEYS, *PROCESSOR_KEYS, 'lora_alpha']: assert f'| `{key}` |' in text, key
    from tabtune.training.strategies import STRATEGIES
    for strategy in STRATEGIES.values(): assert f"`'{strategy.name}'`" in text and strategy.help in text, strategy.name
    rows = [line for line in text.splitlines() if line.startswith('| `')]
    assert all(row.split(' | ')[-1].rstrip(' |') for row in rows)  # each has its explanation

def test_every_checkpoint_has_a_page(build):
    from tabtune.model.checkpoints import bundled, read_card
    build.write_cards()
    index = (build.SRC/'checkpoints'/'index.md').read_text()
    for name in bundled():
        text, card = (build.SRC/'checkpoints'/f'{name}.md').read_text(), read_card(name)
        assert f'({name}.md)' in index and f"{card['parameters']:,}" in text
        assert all(dataset in text for dataset in card.get('evaluation', {}).get('by_dataset', {}))

def test_chapters_are_linked_once_they_exist(build):
    assert build.linked('see [first](chapter:01), [later](chapter:99)') == 'see [first](../nbs/tutorials/01_first_prediction.ipynb), later'

def test_benchmarks_page_is_filled_in(build):
    build.write_benchmarks()
    text = (build.SRC/'pages'/'benchmarks.md').read_text()
    assert '{{' not in text and ' MiB |' in text and text.count('**mean**') == 2 and 'CatBoost' in text
    for name, card in build.cards().items(): assert f"{card['evaluation']['mean'].get('logloss', card['evaluation']['mean'].get('r2')):.3f} |" in text, name

def test_the_page_on_settings_agrees_with_recommend(root):
    from tabtune.core.config import PRESETS
    from tabtune.training.recommend import RuleInputs, apply_rules
    text = (root/'docs'/'pages'/'which_setting.md').read_text()
    lines = [[cell.strip().replace(',', '') for cell in line.split('|')[1:-1]] for line in text.splitlines() if line.startswith('| around ')]
    assert [line[0] for line in lines] == ['around 10000', 'around 100000', 'around 500000']
    for size, model, *numbers, note in lines:
        r = apply_rules(RuleInputs(int(size.split()[1]), 20, device='cuda', memory=80e9), timed=False)
        assert [r.tuning_params[k] for k in ('support_size', 'batch_size', 'n_episodes')] == [int(n) for n in numbers], size
        assert r.model_params['d_model'] == PRESETS[model].d_model
    little = apply_rules(RuleInputs(10_000, 20, strategy='peft', goal='memory'), timed=False).tuning_params
    assert (little['support_size'], little['batch_size'], little['peft_config']['r']) == (64, 2, 2)
    for rows, epochs in ((300, 4), (800, 4), (10_000, 10), (100_000, 16)):
        best = apply_rules(RuleInputs(rows, 20, goal='accuracy', memory=80e9), timed=False)
        assert apply_rules(RuleInputs(rows, 20), timed=False).tuning_params['epochs'] == epochs
        assert best.model_params['d_model'] == PRESETS['large'].d_model
        assert best.tuning_params['epochs'] == (epochs if rows < 1000 else 2 * epochs)

def test_pages_show_what_came_out_of_the_same_cells(build, tmp_path, monkeypatch):
    from nbformat.v4 import new_code_cell, new_notebook, new_output, writes
    monkeypatch.setattr(build, 'ROOT', tmp_path)
    picture = new_output('display_data', {'image/png': 'iVBOR', 'text/plain': '<Figure>'})
    widget = new_output('display_data', {'application/vnd.jupyter.widget-view+json': {}, 'text/plain': 'Box()'})
    printed, warned = new_output('stream', name='stdout', text='hi'), new_output('stream', name='stderr', text='hm')
    ran = new_notebook(cells=[new_code_cell('draw()', outputs=[picture, widget, printed, warned]), new_code_cell('old()', outputs=[printed])])
    (tmp_path/'build'/'notebooks').mkdir(parents=True)
    (tmp_path/'build'/'notebooks'/'a.ipynb').write_text(writes(ran))
    page = new_notebook(cells=[new_code_cell('draw()'), new_code_cell('new()')])
    drawn, new = build.with_outputs(page, build.Path('nbs/a.ipynb')).cells
    assert [o.output_type for o in drawn.outputs] == ['display_data', 'stream'] and list(drawn.outputs[0].data) == ['image/png']
    assert new.outputs == [] and build.with_outputs(page, build.Path('nbs/none.ipynb')) is page

def test_what_was_run_is_kept(root, tmp_path, monkeypatch):
    import nbformat, run
    monkeypatch.setattr(run, 'KEPT', tmp_path/'kept')
    path = tmp_path/'a.ipynb'
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('print(1 + 1)')]), path)
    assert run.run(path, False) is None
    assert nbformat.read(tmp_path/'kept'/'a.ipynb', as_version=4).cells[0].outputs[0].text == '2\n'

def test_a_kernel_that_dies_is_a_failure_and_no_end(root, tmp_path, monkeypatch):
    import nbformat, run
    monkeypatch.setattr(run, 'KEPT', tmp_path/'kept')
    path = tmp_path/'dies.ipynb'
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('import os; os._exit(1)')]), path)
    assert 'died' in run.run(path, False)

def test_the_glossary_has_few_terms_each_explained(root):
    rows = [line.strip('| ').split(' | ') for line in (root/'docs'/'pages'/'glossary.md').read_text().splitlines() if line.startswith('| ')][2:]
    assert 18 <= len(rows) <= 30 and all(len(row) == 2 and len(row[1]) > 20 for row in rows)
