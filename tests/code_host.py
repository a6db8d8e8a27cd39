"What the preview of a code host shows of a notebook: no widgets, no scripts, and HTML without styles."
import re
from html.parser import HTMLParser

class Preview(HTMLParser):
    "HTML as a code host shows it: its words by cell, its tags, its pictures. With `strict`, pictures inside HTML are dropped too."
    DROPPED, ATTRIBUTES = ('script', 'style', 'svg', 'iframe', 'object', 'form', 'input', 'textarea', 'button'), ('alt', 'src', 'href', 'title', 'colspan')
    def __init__(self, html, strict=False):
        super().__init__()
        self.strict, self.inside, self.words, self.tags, self.pictures, self.cells, self.attributes = strict, [], [], [], [], [], set()
        self.feed(html); self.close()

    def handle_starttag(self, tag, attrs):
        if tag in self.DROPPED: self.inside.append(tag); return
        if self.inside: return
        self.tags.append(tag); self.attributes |= {k for k, _ in attrs if k not in self.ATTRIBUTES}
        if tag == 'td': self.cells.append('')
        if tag != 'img': return
        src, alt = (dict(attrs).get(k, '') for k in ('src', 'alt'))
        if not self.strict and src.startswith('data:image/png;base64,'): self.pictures.append(src)
        else: self.handle_data(alt)

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1] == tag: self.inside.pop()

    def handle_data(self, data):
        if self.inside or not data.strip(): return
        self.words.append(data.strip())
        if self.cells: self.cells[-1] += data

def preview(outputs, strict=False):
    "The previews of some outputs of a cell, each a dictionary from MIME type to data."
    shown = (data.get('text/html') or f"<pre>{data.get('text/plain', '')}</pre>" for data in outputs)
    return [Preview(''.join(html), strict) for html in shown]

def numbers(text):
    "The numbers in a text: those of two digits or more, as people compare them."
    return set(re.findall(r'\d[\d,]*\.?\d+', text))

def assert_survives(outputs):
    "A preview shows the last state of a view once: a picture or a table, all numbers, nothing of the live view, nothing that runs."
    live, copy = preview(outputs); _, strict = preview(outputs, strict=True)
    assert not live.words and not live.pictures, f'a page that knows no widgets shows {live.words} instead of the live view'
    assert copy.pictures or 'table' in copy.tags, f'neither picture nor table: {copy.words}'
    assert 'table' in strict.tags and not strict.pictures
    text = ' '.join(strict.words)
    missing = numbers(outputs[1]['text/plain']) - numbers(text); assert not missing, f'{missing} of the summary are not in {text[:2000]}'
    empty = [i for i, c in enumerate(strict.cells) if not c.strip()]; assert not empty, f'cells {empty} show nothing without styles: {strict.cells}'
    acts = {a for a in copy.attributes if a.startswith('on')}; assert not acts, f'{acts} would run something'
