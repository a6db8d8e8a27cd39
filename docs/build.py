"""Write the pages that Sphinx reads, docs/_build/src: notebooks as readers should see them, pages by hand, and pages made
from what the package knows about itself: a page for each module, tables of all settings, and a card for each checkpoint."""
import ast, json, re, shutil, sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT/'tools')]
from chapters import PACKAGES, place
from clean import notebooks
from readme import visible

SRC = ROOT/'docs'/'_build'/'src'

def table(head, rows):
    "A Markdown table."
    line = lambda cells: '| ' + ' | '.join(str(c).replace('|', '\\|') for c in cells) + ' |'
    return '\n'.join([line(head), line(['---'] * len(head)), *map(line, rows), ''])

def write(name, text):
    path = SRC/f'{name}.md'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
    return name

SHOWN = ('image/png', 'text/html', 'text/plain')  # kinds of output that a page shows

def shown(output):
    "An output of a cell as it should stand on a page, or None."
    if output.output_type not in ('display_data', 'execute_result'): return output if output.get('name') == 'stdout' else None
    live = any('widget' in kind for kind in output.data)  # a page has no kernel: of a widget, the static picture is shown and not its repr
    kinds = [k for k in SHOWN if k in output.data and not (live and k == 'text/plain')]
    output.data, output.metadata = {k: output.data[k] for k in kinds if k != 'text/plain' or len(kinds) == 1}, {}
    return output if kinds else None

def with_outputs(nb, page):
    "Put in what came out of the cells when `make notebooks` ran them, where they are the same still."
    kept = ROOT/'build'/'notebooks'/page.relative_to('nbs')
    if not kept.is_file(): return nb
    ran = {c.source: c.outputs for c in nbformat.read(kept, as_version=4).cells}
    for c in nb.cells:
        if c.cell_type == 'code': c.outputs = [o for o in map(shown, ran.get(c.source, [])) if o]
    return nb

def copy_notebooks():
    "Copy nbs/, without directives and hidden cells; the names of the pages, apart from the index (README.md takes its place)."
    pages = []
    shutil.copytree(ROOT/'nbs', SRC/'nbs', ignore=shutil.ignore_patterns('*.ipynb', '.*', '_*'))
    for path in notebooks(ROOT):
        page = path.relative_to(ROOT)
        if page.name == 'index.ipynb': continue
        nbformat.write(visible(with_outputs(nbformat.read(path, as_version=4), page)), SRC/page)
        pages.append(page.with_suffix('').as_posix())
    return pages

def subtitle(path):
    "The first line of a module's docstring."
    return (ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or '').split('\n')[0]

def notebook_of(path):
    "The notebook that a module is exported from, relative to the root."
    return re.search(r'File to edit: (?:\.\./)+(\S+\.ipynb)', path.read_text(encoding='utf-8'))[1]

def modules():
    "Dotted name -> (file, notebook) of each exported module, in the order of the packages and of the numbers in them."
    files = [p for p in (ROOT/'tabtune').rglob('[a-z]*.py')]
    found = {'.'.join(p.relative_to(ROOT).with_suffix('').parts): (p, notebook_of(p)) for p in files}
    return dict(sorted(found.items(), key=lambda kv: place(ROOT/kv[1][1], ROOT)))

def write_api():
    "A page for each exported module, and one that lists them; the names of the pages."
    rows = []
    for name, (path, notebook) in modules().items():
        chapter = f'[{Path(notebook).stem}](../{notebook})'
        write(f'api/{name}', f'# {name}\n\nWritten in {chapter}, where each part is explained and tested.'
                             f'\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n')
        rows.append((f'[{name}]({name}.md)', subtitle(path), chapter))
    text = '# All modules\n\nFrom the bottom up: a module imports only from those above it in this table.\n\n'
    return [write('api/index', text + table(('module', 'what it is', 'notebook'), rows)), *(f'api/{name}' for name in modules())]

def bounds(m):
    "The range of a setting, in words."
    if m['choices']: return ', '.join(f'`{c}`' for c in m['choices'])
    if m['low'] is None and m['high'] is None: return ''
    if m['high'] is None: return f"{m['low']} and up"
    return f"{m['low']:g} to {m['high']:g}" if isinstance(m['low'], float) else f"{m['low']} to {m['high']:,}"

def settings_rows(cls):
    from tabtune.core.config import settings_table
    return [(f'`{name}`', f"`{m['default']!r}`", bounds(m), m['help']) for name, m in settings_table(cls).items()]

def strategies():
    "All tuning strategies in one sentence, from their records."
    from tabtune.training.strategies import list_strategies
    names = lambda s: ' or '.join(f"`'{n}'`" for n in [s.Index, *filter(None, s.aliases.split(', '))])
    return '; '.join(f'{names(s)}: {s.meaning}' for s in list_strategies().itertuples())

def write_settings():
    "Tables of all settings, from the code that checks them."
    from tabtune.core.config import LoraSettings, ModelSettings, TuningConfig
    from tabtune.data.processing import ProcessorSettings
    head = ('setting', 'default', 'range', 'what it does')
    return write('pages/settings', linked((ROOT/'docs'/'pages'/'settings.in.md').read_text(encoding='utf-8'))
                 .replace('{{strategies}}', strategies())
                 .replace('{{model_params}}', table(head, settings_rows(ModelSettings))).replace('{{tuning_params}}', table(head, settings_rows(TuningConfig)))
                 .replace('{{peft_config}}', table(head, settings_rows(LoraSettings)))
                 .replace('{{processor_params}}', table(head, settings_rows(ProcessorSettings))))

def draw_curve(name):
    "The validation loss of a checkpoint's pre-training run, with what the baselines reach; False where no curve came with it."
    if not (ROOT/'tabtune'/'weights'/name/'curve.json').exists(): return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from tabtune.model.checkpoints import read_card
    from tabtune.demo import plot_pretraining as draw, read_curve
    fig = Figure(figsize=(8, 3.4), layout='constrained')
    draw(fig.subplots(), read_curve(name), read_card(name))
    FigureCanvasAgg(fig).print_png(SRC/'checkpoints'/f'{name}.png')
    return True

def flat(x, name=''):
    "Nested dictionaries as rows of a table."
    if isinstance(x, dict): return [r for k, v in x.items() for r in flat(v, f'{name}.{k}' if name else str(k))]
    return [(f'`{name}`', f'`{x}`')]

def scores(evaluation):
    "The table of a card's evaluation."
    by = {**evaluation.get('by_dataset', {}), **({'**mean**': evaluation['mean']} if 'mean' in evaluation else {})}
    names = list(next(iter(by.values()), {}))
    text = lambda v: f'{v:.3f}' if isinstance(v, float) else v
    return table(('table', *names), [(d, *(text(m.get(n, '')) for n in names)) for d, m in by.items()])

OTHER_MODELS = dict(dummy='class frequencies', hgb='gradient boosting (scikit-learn)', knn='nearest neighbours', lgbm='LightGBM', xgb='XGBoost',
              linear='linear model', rf='random forest', catboost='CatBoost')

def against_others(evaluation):
    "Mean rank among all, and wins, ties and losses against each other model."
    metrics = list(evaluation['rank'])
    rows = [('**mean rank of nine**', *(f'**{evaluation["rank"][m]:.2f}**' for m in metrics))]
    rows += [(f'against {OTHER_MODELS.get(k, k)}: won / tied / lost', *(w[m].replace('/', ' / ') for m in metrics))
             for k, w in evaluation['win_tie_loss'].items()]
    return table(('', *metrics), rows)

BASELINES = dict(frequencies='class frequencies', linear='logistic regression', forest='random forest')

def card_page(name, card):
    "A checkpoint's card.json as a page to read."
    c, v, e = card.get('architecture', {}), card.get('validation', {}), card.get('evaluation', {})
    task = "task_type='regression', " if card.get('task') == 'regression' else ''
    call = f"TabularPipeline({task}model_params=dict(pretrained='{name}'))"
    out = [f'# Checkpoint: {name}', f"Bundled with the package: `load_checkpoint('{name}')`, or `{call}`.",
           f"**{card.get('parameters', 0):,} parameters**, width {c.get('d_model')}, {c.get('num_layers')} block(s) of "
           f"{c.get('num_heads')} heads" + ('' if task else f", up to {c.get('n_classes')} classes at once")
           + f". Pre-trained on {card.get('tables', 0):,} synthetic tables in {card.get('hours', 0):.1f} hours; the notes say more."]
    if v: out += ['## On synthetic tables', 'Log loss on tables from the priors that training never saw; lower is better.',
                  table(('who', 'log loss'), [('**this model**', v.get('loss')),
                                              *((BASELINES.get(k, k), b) for k, b in v.get('baselines', {}).items())])]
    if v and draw_curve(name): out += [f'![Validation loss while pre-training {name}]({name}.png)']
    if v.get('by_prior'): out += [table(('prior', 'log loss of this model'), v['by_prior'].items())]
    if e: out += ['## On real tables', f"Made with `{e['command']}`." if 'command' in e else '', scores(e)]
    if 'win_tie_loss' in e: out += ['## Beside others', f"Each with its default settings, on the same {e['datasets']} tables. "
                                    'A difference below 0.002 is a tie.', against_others(e)]
    if card.get('notes'): out += ['## Notes', '\n'.join(f'- {n}' for n in card['notes'])]
    rest = {k: card[k] for k in card if k not in ('validation', 'evaluation', 'notes')}
    return '\n\n'.join([*out, '## How it was made', table(('key', 'value'), flat(rest))]) + '\n'

def cards():
    "Name -> card of each bundled checkpoint."
    found = {p.parent.name: json.loads(p.read_text(encoding='utf-8')) for p in sorted((ROOT/'tabtune'/'weights').glob('*/card.json'))}
    return dict(sorted(found.items(), key=lambda kv: (kv[1].get('task', ''), kv[1].get('parameters', 0))))

def write_cards():
    "A page for each checkpoint, and one that compares them."
    (SRC/'checkpoints').mkdir(parents=True)
    pages = [write(f'checkpoints/{name}', card_page(name, card)) for name, card in cards().items()]
    keys = ('auc', 'accuracy', 'logloss', 'r2')
    rows = [(f'[{n}]({n}.md)', f"{c.get('parameters', 0):,}", *(c.get('architecture', {}).get(k) for k in ('d_model', 'num_layers')),
             c.get('validation', {}).get('loss', ''), *(c.get('evaluation', {}).get('mean', {}).get(k, '–') for k in keys))
            for n, c in cards().items()]
    head = ('name', 'parameters', 'width', 'blocks', 'synthetic log loss', 'real AUC', 'real accuracy', 'real log loss', 'real R²')
    text = ('# Bundled checkpoints\n\nWeights that come with the package. Each has a card that says how it was made and how well '
            'it does.\n\n')
    return [write('checkpoints/index', text + table(head, rows)), *pages]

def measured(name):
    "What a script in benchmarks/ wrote, or None."
    path = ROOT/'benchmarks'/name
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else None

def speed():
    "What benchmarks/speed.py measured: by one thread, and by several if there is a file."
    return '\n\n'.join(speed_table(d) for n in ('speed.json', 'speed_threads.json') if (d := measured(n)))

def speed_table(d):
    "One run of it, as a paragraph and a table."
    rows = [(f'[{n}](../checkpoints/{n}.md)', f"{r['cold']:.2f} s", f"{r['many']:.2f} s", f"{r['one'] * 1e3:.1f} ms", f"{r['step']:.2f} s",
             f"{r['peak_predict']:,.0f} MiB", f"{r['peak_tune']:,.0f} MiB") for n, r in d['results'].items()]
    n, threads = f"{d['rows']:,}", d['threads']
    time = 'Processor time on one core' if threads == 1 else f'The clock, with {threads} threads on {threads} cores that did nothing else'
    more = ('. A step of tuning is four episodes of 128 + 128 rows, the comparison at the end included. Memory is that of the whole process, '
            'Python and PyTorch with it') if threads == 1 else ''
    head = ('checkpoint', f'fit and {n} rows', f'the next {n}', 'one row', 'a step of tuning', 'memory, predicting', 'memory, tuning')
    return f"{time} ({d['processor']}), with {n} rows of {d['columns']} columns as context{more}.\n\n" + table(head, rows)

def reference():
    "What benchmarks/reference.py measured."
    d = measured('reference.json')
    cell = lambda r, k: f"{r['seconds'][k] * 1e3:,.0f} ms, **{r['ratio'][k]:.1f}**, {r['difference'][k]:.0e}"
    rows = [(dict(ours='64 x 2 x 4', public='512 x 12 x 4')[r['size']], r['what'], f"{r['seconds']['reference'] * 1e3:,.0f} ms", cell(r, 'float32'), cell(r, 'bfloat16'))
            for r in d['results']]
    return f"One core ({d['processor']}).\n\n" + table(('width x blocks x heads', 'call', f"AutoGluon {d['autogluon']}", 'float32: time, times as fast, apart', 'bfloat16: time, times as fast, apart'), rows)

def scale():
    "What benchmarks/scale.py measured, drawn."
    import pandas as pd
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    d, fig = pd.read_csv(ROOT/'benchmarks'/'scale.csv'), Figure(figsize=(9, 3.2), layout='constrained')
    FigureCanvasAgg(fig)
    for ax, (axis, lines) in zip(fig.subplots(1, 3), d.groupby('axis', sort=False)):
        ax.loglog(lines[axis], lines['first'], 'o-', label='fit and first 1,000 predictions, s')
        ax.loglog(lines[axis], lines['later'], 'o-', label='all queries by a kept context, s')
        ax.loglog(lines[axis], lines['peak'].clip(lower=1) / 1024, 's:', color='0.5', label='peak memory, GiB')
        ax.set_xlabel(dict(support='support rows', queries='query rows', columns='columns')[axis])
        ax.set_title(lines.checkpoint.iloc[0], fontsize=9)
    fig.axes[0].legend(fontsize=7)
    (SRC/'pages').mkdir(parents=True, exist_ok=True)
    fig.savefig(SRC/'pages'/'scale.png', dpi=110)
    return '![Time and memory by support rows, query rows and columns](scale.png)'

def rows():
    "What benchmarks/rows.py measured, drawn and as a table."
    import pandas as pd
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    d, fig = pd.read_csv(ROOT/'benchmarks'/'rows.csv'), Figure(figsize=(9, 2.8), layout='constrained')
    FigureCanvasAgg(fig)
    for ax, (name, lines) in zip(fig.subplots(1, d.table.nunique()), d.groupby('table', sort=False)):
        for setting, part in lines.groupby('setting', sort=False): ax.semilogx(part.rows, part.score, 'o-', label=setting)
        ax.set_title(name, fontsize=9); ax.set_xlabel('rows')
    fig.axes[0].legend(fontsize=7)
    (SRC/'pages').mkdir(parents=True, exist_ok=True)
    fig.savefig(SRC/'pages'/'rows.png', dpi=110)
    cells = [(r.table, f'{r.rows:,}', r.setting, f'{r.score:.3f}', f'{r.fit + r.predict:.1f}') for r in d.itertuples()]
    return '![Score by rows](rows.png)\n\n' + table(('table', 'rows', 'setting', 'AUC or R²', 'seconds'), cells)

def side_by_side(found, metrics):
    "Checkpoints beside each other: a row for each table, a column for each score and checkpoint."
    by = {n: c['evaluation']['by_dataset'] | {'**mean**': c['evaluation']['mean']} for n, c in found.items()}
    rows = [(d, *(f'{by[n][d][m]:.3f}' for m in metrics for n in by)) for d in next(iter(by.values()))]
    return table(('table', *(f'{text} {n}' for text in metrics.values() for n in by)), rows)

def write_benchmarks():
    "The page of benchmarks: by hand, with the cards' and the scripts' numbers filled in."
    found = {n: c for n, c in cards().items() if c.get('evaluation')}
    classes, numbers = ({n: c for n, c in found.items() if (m in c['evaluation']['mean'])} for m in ('auc', 'r2'))
    parts = ['## Classes\n\n' + side_by_side(classes, dict(auc='AUC,', logloss='log loss,', ece='ECE,')),
             '## Numbers\n\n' + side_by_side(numbers, dict(r2='R²,', rmse='RMSE,', coverage='coverage of 90 % intervals,')),
             '## Beside others\n\nThe `medium` checkpoint and eight models with their default settings, on the same tables and splits. '
             'A difference below 0.002 is a tie. The other cards have the same table.\n\n' + against_others(found['medium']['evaluation'])]
    text = linked((ROOT/'docs'/'pages'/'benchmarks.in.md').read_text(encoding='utf-8'))
    fills = dict(scores='\n\n'.join(parts), speed=speed(), reference=reference(), scale=scale(), rows=rows())
    for name, fill in fills.items(): text = text.replace('{{' + name + '}}', fill)
    return write('pages/benchmarks', text)

def linked(text):
    "Chapters named `[text](chapter:NN)` as links to the tutorial of that number; those not written yet as plain text."
    found = {p.name[:2]: p.stem for p in (ROOT/'nbs'/'tutorials').glob('[0-9][0-9]_*.ipynb')}
    link = lambda m: f'[{m[1]}](../nbs/tutorials/{found[m[2]]}.ipynb)' if m[2] in found else m[1]
    return re.sub(r'\[([^\]]+)\]\(chapter:(\d\d)\)', link, text)

def copy_pages():
    "The pages written by hand, apart from those that are filled in."
    names = []
    for p in sorted((ROOT/'docs'/'pages').glob('*.md')):
        if not p.name.endswith('.in.md'): names.append(write(f'pages/{p.stem}', linked(p.read_text(encoding='utf-8'))))
    return names

def numbered(page):
    "A notebook in a table of contents: its number, and its title."
    title = next((c.source for c in nbformat.read(SRC/f'{page}.ipynb', as_version=4).cells if c.source.startswith('# ')), page)
    return f"{Path(page).name[:2]} {title.splitlines()[0].lstrip('# ')} <{page}>"

def toctree(caption, pages):
    "A table of contents in the side bar."
    return '\n'.join(['', '```{toctree}', ':hidden:', f':caption: {caption}', ':maxdepth: 1', '', *pages, '```', ''])

def main():
    shutil.rmtree(SRC, ignore_errors=True)
    SRC.mkdir(parents=True)
    pages, api = copy_notebooks(), write_api()
    guide = [*copy_pages(), write_settings(), *write_cards(), write_benchmarks()]
    for name in ('CONTRIBUTING.md', 'CHANGELOG.md', 'LICENSE'): shutil.copy(ROOT/name, SRC)
    tutorials = [p for p in pages if p.startswith('nbs/tutorials/')]
    index = (ROOT/'README.md').read_text(encoding='utf-8')
    index += toctree('Tutorials', map(numbered, tutorials)) + toctree('Guide', guide) + toctree('Reference', api)
    for package in PACKAGES: index += toctree(f'How it is built: {package}', [numbered(p) for p in pages if p.startswith(f'nbs/{package}/')])
    index += toctree('How it is built: on top', [numbered(p) for p in pages if p.count('/') == 1])
    index += toctree('The project', ['CONTRIBUTING', 'CHANGELOG'])
    (SRC/'index.md').write_text(index, encoding='utf-8')
    print(f'docs: {len(pages)} notebooks, {len(api)} pages of reference, {len(guide)} pages of guide')

if __name__ == '__main__': main()
