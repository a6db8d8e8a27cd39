"What axe-core (Deque Systems, MPL 2.0, see assets/axe.LICENSE) finds on a page, and what a keyboard reaches."
from pathlib import Path

from servers import SHOTS

AXE = (Path(__file__).parent/'assets'/'axe.min.js').read_text(encoding='utf-8')
OUTPUT = '.jp-OutputArea:has(.tabtune-live, .tabtune-copy)'  # what JupyterLab and pandas show around it is not ours

_RUN = """async include => {
    const found = await axe.run(include ? {include: include} : document, {resultTypes: ['violations'], elementRef: false})
    return found.violations.flatMap(v => v.nodes.map(n => [n.impact || v.impact, v.id, n.target.join(' '), n.html.slice(0, 300), n.failureSummary]))
}"""
_WIDE = """include => [...document.querySelectorAll(`${include || 'body'}, ${include || 'body'} .jp-OutputArea-output`)]
    .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => `${e.className}: ${e.scrollWidth} > ${e.clientWidth}`)"""

def violations(page, include=OUTPUT, impacts=('serious', 'critical')):
    "Violations of the WCAG on what is shown: (impact, rule, where, HTML, why)."
    if not page.evaluate('typeof axe != "undefined"'): page.evaluate(AXE)
    return [v for v in page.evaluate(_RUN, include) if v[0] in impacts]

def assert_accessible(page, what, include=OUTPUT):
    "No serious or critical violation, no sideways scrolling, no empty tooltip, no widget that failed."
    failed = page.get_by_text('javascript error').count(); assert not failed, f'{what}: {failed} widgets failed in the page'
    found = violations(page, include)
    if found: page.wait_for_timeout(600); found = violations(page, include)  # names.js completes a page after 0.3 s
    assert not found, f'{what}: {len(found)} violations\n' + '\n'.join(' | '.join(map(str, v)) for v in found)
    wide = page.evaluate(_WIDE, include); assert not wide, f'{what} scrolls sideways: {wide}'
    null = page.locator('[title="null"]')  # of a widget that was just shown, for a moment
    if null.count(): page.wait_for_timeout(3000)
    assert not null.count(), f'{what}: {null.count()} tooltips say null'

def use_theme(page, dark):
    "JupyterLab's light or dark theme."
    page.evaluate("name => { window.jupyterapp.commands.execute('apputils:change-theme', { theme: name }) }", 'JupyterLab Dark' if dark else 'JupyterLab Light')
    page.wait_for_function('dark => document.body.dataset.jpThemeLight == String(!dark)', arg=dark); page.wait_for_timeout(250)

def look(page, name, include=OUTPUT):
    "Pictures of a page in JupyterLab at 1280 pixels, light, and at 1600, dark; both are accessible."
    page.screenshot(path=SHOTS/f'{name}.png'); assert_accessible(page, name, include)
    page.set_viewport_size(dict(width=1600, height=1000)); use_theme(page, True)
    page.screenshot(path=SHOTS/f'{name}-dark.png'); assert_accessible(page, f'{name}, dark', include)
    page.set_viewport_size(dict(width=1280, height=900)); use_theme(page, False)

_FOCUS = """() => {
    const e = document.activeElement, s = getComputedStyle(e), seen = s.outlineStyle != 'none' && parseFloat(s.outlineWidth) >= 1
    const name = e.getAttribute('aria-label') || (e.labels?.[0] ?? e).innerText || e.title || ''
    return { name: name.trim().slice(0, 60), tag: e.tagName, seen, inside: !!e.closest('.tabtune-live') }
}"""
_CONTROLS = """view => [...view.querySelectorAll('button, input, select, textarea, a[href], summary, .noUi-handle, [role=tab][tabindex="0"]')]
    .filter(e => !e.disabled && e.checkVisibility() && e.type != 'file').length"""

class Keyboard:
    "Somebody who has only keys."
    def __init__(self, page): self.page = page

    def focus(self): return self.page.evaluate(_FOCUS)

    def controls(self, view): return view.evaluate(_CONTROLS)

    def to(self, name, key='Tab', most=60):
        "Press a key until the control of this name has the focus; each stop on the way shows that it has it."
        stops = []
        for _ in range(most):
            self.page.keyboard.press(key); f = self.focus(); stops.append(f['name'] or f['tag'])
            assert f['seen'] or not f['inside'], f'nobody sees the focus on {f}'
            if f['inside'] and f['name'].startswith(name): return f
        raise AssertionError(f'{most} times {key} did not lead to {name!r}: {stops}')

    def walk(self, most=150):
        "The names of all stops from here to the end of the view."
        names = [self.focus()['name']]
        for _ in range(most):
            self.page.keyboard.press('Tab'); f = self.focus()
            if not f['inside']: return names
            assert f['seen'], f'nobody sees the focus on {f}'
            names.append(f['name'])
