"The command line, as a new user meets it: one process for all but a real pipe."
import importlib, io, json, os, shlex, subprocess, sys

import numpy as np
import pandas as pd
import pytest

from tabtune import TabularPipeline, cli, read_table
from tabtune.cli import COMMANDS, Command, main

rng = np.random.default_rng(0)
N = 160
TABLE = pd.DataFrame(dict(id=range(1000, 1000 + N), zip=rng.choice(['01067', '80331', '99084'], N), amount=[f'${v:,.2f}' for v in rng.lognormal(6, 1, N)],
                          note=rng.choice(['=cmd()', '@all', '-3-', 'fine'], N), size=rng.normal(50, 9, N).round(2)))
TABLE['churn'] = np.where(TABLE.zip == '80331', 'yes', 'no')  # the middle one of three codes
TABLE['cost'] = TABLE['size'] * 3 + (TABLE.zip == '80331') * 20

@pytest.fixture(scope='module')
def place(tmp_path_factory):
    "A folder with files, and with two fitted pipelines."
    folder = tmp_path_factory.mktemp('cli')
    TABLE.drop(columns='cost').to_csv(folder/'train.csv', index=False, sep=';')
    TABLE.drop(columns='churn').to_csv(folder/'costs.tsv', index=False, sep='\t')
    TABLE.drop(columns=['cost', 'churn']).to_csv(folder/'new.csv', index=False)
    (folder/'head.csv').write_text('id,zip\n'); (folder/'few.csv').write_text('id,zip\n1,01067\n')
    for file, target, more in (('train.csv', 'churn', ['--weights', 'small', '--type', 'zip=category']), ('costs.tsv', 'cost', [])):
        main(['fit', str(folder/file), '--target', target, '--out', str(folder/f'{target}.tabtune'), '--set', 'experts=None', '--quiet', *more])
    return folder

@pytest.fixture
def run(place, capsys, monkeypatch):
    "Run a command in the folder; -> standard output, standard error, exit code."
    monkeypatch.chdir(place); capsys.readouterr()
    def call(*argv):
        try: main([*argv]); code = 0
        except SystemExit as e: code = e.code
        out, err = capsys.readouterr()
        return out, err, code
    return call

MISTAKES = dict(  # what is wrong -> call, exit code, words on standard error
    command=('predct', 2, "did you mean 'predict'"), option=('fit train.csv --traget churn', 2, 'did you mean --target?'), no_target=('fit train.csv', 2, 'give --target'),
    target=('fit train.csv --target chrn', 2, "did you mean 'churn'? it has id, zip"), exists=('fit train.csv --target churn --out churn.tabtune', 2, '--force to write over'),
    no_file=('fit nowhere.csv --target y', 1, "no file 'nowhere.csv'"), no_rows=('fit head.csv --target zip', 1, 'no rows: id, zip'), kind=('fit train.csv --target churn --type zip=catgory', 2, "did you mean 'category'"),
    kind_column=('check train.csv --target churn --type zap=category', 2, "no column 'zap'; did you mean 'zip'?"), kind_target=('compare train.csv --target churn --type churn=category', 2, '--task says'),
    setting=('fit train.csv --target churn --set n_estimator=2', 2, "did you mean 'n_estimators'"), tune=('fit train.csv --target churn --tune best', 2, "did you mean 'better'"),
    task=('fit train.csv --target churn --task regression', 1, "row 0 is 'no'" if TABLE.churn[0] == 'no' else "row 0 is 'yes'"), not_a_model=('predict train.csv new.csv', 1, 'not a complete TabTune pipeline'),
    no_model=('predict m.tabtune new.csv', 1, "no file 'm.tabtune'"), columns=('predict churn.tabtune few.csv', 1, '3 of 5 columns are missing'), ending=('predict churn.tabtune new.csv --out p.doc', 2, 'must end in one of'),
    input=('predict churn.tabtune new.csv --out new.csv --force', 2, 'would write over what is read'), keep=('predict churn.tabtune new.csv --keep idd', 2, "did you mean 'id'"), no_truth=('evaluate churn.tabtune new.csv', 2, 'needs the true values'),
    truth=('evaluate churn.tabtune new.csv --target churn', 2, "'churn' is no column"), number=('compare train.csv --target churn --cv five', 2, 'invalid int value'))

@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_mistake_is_reported_on_standard_error_with_its_code(run, mistake):
    call, code, words = MISTAKES[mistake]
    out, err, got = run(*call.split())
    assert (out, got) == ('', code) and words in err and 'Traceback' not in err

def test_fit_reads_types_and_says_what_it_did(run, place):
    assert TabularPipeline.load(place/'churn.tabtune').column_types == dict(zip='category')
    out, err, code = run('fit', 'train.csv', '--target', 'churn', '--out', 'churn.tabtune', '--force', '--json', '--weights', 'small', '--type', 'zip=category', '--type', 'note=text')
    answer = json.loads(out)
    assert (code, answer['classes'], answer['rows'], answer['columns']) == (0, ['no', 'yes'], N, ['id', 'zip', 'amount', 'note', 'size']) and 'a classification' in err
    assert TabularPipeline.load(place/'churn.tabtune').column_types == dict(zip='category', note='text')

def test_predictions_are_those_of_the_pipeline(run, place):
    pipe, X = TabularPipeline.load(place/'churn.tabtune'), TABLE.drop(columns=['churn', 'cost'])
    assert run('predict', 'churn.tabtune', 'new.csv', '--out', 'p.csv', '--keep', 'id', '--keep', 'note', '--keep', 'size')[::2] == ('', 0)
    p = pd.read_csv(place/'p.csv')
    assert list(p) == ['id', 'note', 'size', 'prediction', 'probability_no', 'probability_yes'] and p.id.tolist() == X.id.tolist()
    assert np.allclose(p[['probability_no', 'probability_yes']], pipe.predict_proba(X), atol=1e-6) and p.prediction.tolist() == pipe.predict(X).tolist()
    assert set(p.note) == {"'=cmd()", "'@all", "'-3-", 'fine'} and p['size'].equals(TABLE['size'])  # no formulas, and numbers stay numbers
    for ending in ('json', 'jsonl', 'parquet'):
        run('predict', 'churn.tabtune', 'new.csv', '--out', f'p.{ending}', '--keep', 'note', '--force')
        assert '=cmd()' in set(read_table(place/f'p.{ending}').note)
    assert len(json.loads(run('predict', 'churn.tabtune', 'new.csv', '--json')[0])) == N

def test_numbers_come_with_intervals(run):
    narrow, wide = (pd.read_csv(io.StringIO(run('predict', 'cost.tabtune', 'new.csv', '--coverage', c)[0])) for c in ('.5', '.95'))
    assert list(wide) == ['prediction', 'lower', 'upper'] and ((wide.upper - wide.lower) > (narrow.upper - narrow.lower)).all()
    assert ((wide.lower <= TABLE.cost) & (TABLE.cost <= wide.upper)).mean() > .85

def test_amounts_as_texts_are_a_target_of_numbers(run, place):
    X = TABLE.drop(columns=['churn', 'cost', 'amount']).assign(cost=[f'{v:.2f} €'.replace('.', ',') for v in TABLE.cost])
    X.to_csv(place/'text.csv', index=False)
    out, err, code = run('fit', 'text.csv', '--target', 'cost', '--out', 'text.tabtune', '--model', 'randomforest', '--set', 'max_depth=4', '--json')
    assert code == 0 and json.loads(out)['task'] == 'regression' and "the texts in 'cost'" in err
    scores = json.loads(run('evaluate', 'text.tabtune', 'text.csv', '--target', 'cost', '--json')[0])['scores']
    out, err, _ = run('predict', 'text.tabtune', 'text.csv')
    assert scores['r2'] > .8 and out.splitlines()[0] == 'prediction' and 'no intervals' in err

def test_evaluate_finds_the_true_values(run, place):
    out, err, code = run('evaluate', 'churn.tabtune', 'train.csv', '--json')
    pipe = TabularPipeline.load(place/'churn.tabtune')
    assert code == 0 and "the true values are in 'churn'" in err
    assert json.loads(out)['scores']['accuracy'] == pytest.approx((pipe.predict(TABLE) == TABLE.churn).mean())

def test_a_pipe_through_two_commands_and_a_reader_that_leaves(place):
    command = f'{sys.executable} -m tabtune.cli'
    line = f'cat new.csv | {command} predict churn.tabtune - --keep id | head -2'
    done = subprocess.run(['bash', '-c', line], cwd=place, capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=os.pathsep.join(filter(None, sys.path))))
    assert (done.returncode, done.stderr) == (0, '') and done.stdout.splitlines()[0] == 'id,prediction,probability_no,probability_yes' and done.stdout.splitlines()[1].startswith('1000,')

@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full')
@pytest.mark.parametrize('end, code, words', [('| true', 1, ''), ('> /dev/full', 1, 'tabtune: the answer could not be written (No space left on device)\n')], ids=['closed', 'full'])
def test_an_answer_that_nobody_takes_is_no_traceback(place, end, code, words):
    line = f'set -o pipefail; (sleep .1; exec {sys.executable} -m tabtune.cli --help) {end}'
    done = subprocess.run(['bash', '-c', line], capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=os.pathsep.join(filter(None, sys.path))))
    assert (done.returncode, done.stderr) == (code, words)

def test_tuning_leaves_standard_output_to_the_answer(run):
    tiny = [a for s in ('epochs=1', 'steps_per_epoch=2', 'batch_size=1', 'support_size=32', 'query_size=16', 'd_model=32', 'num_layers=1') for a in ('--set', s)]
    out, err, code = run('fit', 'train.csv', '--target', 'churn', '--out', 't.tabtune', '--tune', 'better', '--json', *tiny)
    answer = json.loads(out)
    assert code == 0 and answer['strategy'] == 'base-ft' and f"kept: {answer['kept']}" in err

def test_compare_reads_types_for_every_model(run):
    scores = [{r['name']: r['accuracy'] for r in json.loads(run('compare', 'train.csv', '--target', 'churn', '--models', 'LogisticRegression,Mitra', '--json', '--quiet', *types)[0])['results']}
              for types in ((), ('--type', 'zip=category'))]
    assert scores[0]['LogisticRegression'] < .9 < scores[1]['LogisticRegression'] and scores[1]['Mitra'] > .9  # the middle code of three is no matter of more or less

def test_compare_prints_what_was_found_in_the_table(run):
    call = ('compare', 'train.csv', '--target', 'churn', '--models', 'LogisticRegression')
    assert run(*call, '--quiet')[1] == ''
    assert 'what was found in the table:' in run(*call)[1]
    assert 'id: identifier' in run(*call)[1] and {'column', 'reason', 'treatment', 'code'} <= set(json.loads(run(*call, '--json')[0])['findings'][0])

def test_a_text_in_another_encoding_and_without_names(run, place):
    (place/'old.csv').write_bytes(''.join(f'{v};{t}\n' for v, t in zip(range(9), ['да', 'нет', 'нет'] * 3)).encode('cp1251'))
    out, err, code = run('check', 'old.csv', '--target', 'x1', '--encoding', 'cp1251', '--no-header', '--json')
    assert code == 0 and json.loads(out)['rows'] == 9 and json.loads(out)['columns'] == ['x0']
    assert "encoding='cp1252x' is unknown" in run('check', 'old.csv', '--encoding', 'cp1252x')[1]

@pytest.mark.parametrize('kept, name', [('nothing was written', 'fit'), ('--results-dir', 'compare'), ('--resume', 'pretrain')], ids=['fit', 'compare', 'pretrain'])
def test_ctrl_c_says_what_was_kept(run, monkeypatch, kept, name):
    monkeypatch.setitem(COMMANDS, name, Command('test_cli:interrupted', '', (), COMMANDS[name].kept))
    monkeypatch.setitem(sys.modules, 'test_cli', sys.modules[__name__])
    out, err, code = run(name)
    assert (out, code) == ('', 130) and err.startswith(f'tabtune {name}: stopped; ') and kept in err

@pytest.mark.parametrize('where', ['first', 'last'])
def test_ctrl_c_amid_imports_is_one_line(where, tmp_path):
    "As the installed command, stopped while its first module, or that of a subcommand, is imported."
    name = dict(first='fastcore.basics', last='tabtune.estimators.commands')[where]
    (tmp_path/'tabtune').write_text(f"""import os, signal, sys
class Stopped:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}: os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Stopped()); signal.signal(signal.SIGINT, signal.default_int_handler)
from tabtune.cli import main
main()""")
    done = subprocess.run([sys.executable, str(tmp_path/'tabtune'), 'predict', 'm.tabtune', 'new.csv'], capture_output=True, text=True,
                          env=os.environ | dict(PYTHONPATH=os.pathsep.join(filter(None, sys.path))))
    assert (done.stdout, done.stderr, done.returncode) == ('', 'tabtune: stopped\n', 130)

def interrupted(): "Stopped by its user."; raise KeyboardInterrupt

@pytest.mark.parametrize('name', COMMANDS)
def test_examples_of_a_command_are_calls_that_it_takes(name):
    module, function = COMMANDS[name].function.split(':')
    run = getattr(importlib.import_module(module), function)
    parser = cli._parser(name, run)
    assert COMMANDS[name].examples and all(p.docment for k, p in cli.docments(run, full=True, returns=False).items())
    for example in COMMANDS[name].examples:
        words = shlex.split(example.split('tabtune ', 1)[-1] if example.startswith('cat') else example)
        assert words[0] == name and parser.parse_args(words[1:words.index('>')] if '>' in words else words[1:])
