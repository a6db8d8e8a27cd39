"""Check the built site: every link inside it leads to a page and a place that exist, every picture is there, search knows the words.

    python docs/links.py [FOLDER]      (default: docs/_build/html)
"""
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

class Page(HTMLParser):
    "What a page links to, and the places in it that can be linked to."
    def __init__(self, text):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.places |= {attrs[k] for k in ('id', 'name') if attrs.get(k)}
        self.links += [attrs[k] for k in ('href', 'src') if attrs.get(k)]

def problems(root):
    "What is wrong in the site under `root`, one line each."
    root = Path(root).resolve()
    pages = {p.resolve(): Page(p.read_text(encoding='utf-8')) for p in root.rglob('*.html')}
    for path, page in sorted(pages.items()):
        for link in dict.fromkeys(page.links):
            part = urlsplit(link)
            if part.scheme or part.netloc: continue
            target = (path.parent/unquote(part.path)).resolve() if part.path else path
            if target.is_dir(): target = target/'index.html'
            name = path.relative_to(root)
            if not target.exists(): yield f'{name}: no page {link}'
            elif target in pages and part.fragment and unquote(part.fragment) not in pages[target].places: yield f'{name}: no place {link}'
    index = root/'searchindex.js'
    words = index.read_text(encoding='utf-8') if index.exists() else ''
    for word in ('attention', 'pipelin', 'checkpoint'):
        if word not in words: yield f'search: the index does not know "{word}"'

if __name__ == '__main__':
    found = [*problems(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent/'_build'/'html')]
    print('\n'.join(found) or 'docs: all links lead somewhere')
    sys.exit(bool(found))
