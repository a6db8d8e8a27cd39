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
    ('<a href="sub/page.html#top">a</a> <a href="https://example.org/x">b</a> <a id="h" href="#h">c</a> <a href="sub/../sub/page.html">d</a>', []),
    ('<a href="sub/other.html">a</a>', ['index.html: no page sub/other.html']),
    ('<a href="sub/page.html#bottom">a</a>', ['index.html: no place sub/page.html#bottom']),
    ('<img src="none.png">', ['index.html: no page none.png'])])
def test_links(links, tmp_path, body, wrong): assert [*links.problems(site(tmp_path, body))] == wrong

def test_an_empty_search_index_is_noticed(links, tmp_path): assert len([*links.problems(site(tmp_path, '', index=''))]) == 3

def test_every_setting_is_in_the_tables(build, root):
    from tabtune.config import MODEL_KEYS, TUNING_KEYS
    build.write_settings()
    text = (build.SRC/'pages'/'settings.md').read_text()
    assert '{{' not in text
    from tabtune.processing import PROCESSOR_KEYS
    for key in [*MODEL_KEYS, *TUNING_KEYS, *PROCESSOR_KEYS, 'lora_alpha']: assert f'| `{key}` |' in text, key
    rows = [line for line in text.splitlines() if line.startswith('| `')]
    assert all(row.split(' | ')[-1].rstrip(' |') for row in rows)  # each has its explanation

def test_every_checkpoint_has_a_page(build):
    from tabtune.checkpoints import bundled, read_card
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
    assert '{{' not in text and ' MiB |' in text and text.count('**mean**') == sum('evaluation' in c for c in build.cards().values())
