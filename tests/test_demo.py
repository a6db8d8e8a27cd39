"The demo: honest rows, readable text, a picture."
import numpy as np
import pandas as pd
import pytest

from tabtune import demo

NUMBERS = ['accuracy', 'auc', 'log_loss', 'seconds']

@pytest.fixture(scope='module')
def few():
    "A hundred passengers, some of them of unknown age."
    X, y = demo.titanic()
    rows = X.sample(100, random_state=0).index
    return dict(titanic=(X.loc[rows], y.loc[rows]))

@pytest.fixture(scope='module')
def result(few): return demo.compare(few)

def test_every_model_has_finite_scores(few, result):
    assert few['titanic'][0].isna().any().any()
    assert result.model.tolist() == ['Mitra', *demo.baselines()]
    assert np.isfinite(result[NUMBERS]).all(axis=None)
    assert result[['accuracy', 'auc']].stack().between(0, 1).all() and (result[['log_loss', 'seconds']] > 0).all(axis=None)
    assert set(result.train_rows) == {70} and set(result.test_rows) == {30}

def test_scores_do_not_depend_on_the_run(few, result):
    pd.testing.assert_frame_equal(demo.compare(few)[NUMBERS[:3]], result[NUMBERS[:3]])

def test_report_marks_the_best_of_each_column(result):
    lines = demo.report(result).splitlines()
    assert lines[0] == 'titanic: 70 training rows, 30 test rows; 5 columns, 2 classes'
    top = result.model[result.auc.idxmax()]
    assert f'{result.auc.max():.3f}*' in next(l for l in lines if l.strip().startswith(top))

def test_command_answers_and_draws(few, tmp_path, monkeypatch):
    from matplotlib.image import imread
    monkeypatch.setattr(demo, 'load_tables', lambda: few)
    path = tmp_path/'new'/'demo.png'
    answer = demo.main(out=str(path))
    assert answer.data['file'] == str(path) and 'Mitra' in answer.text
    picture = imread(path)
    assert picture.shape[:2] == (1118, 1430) and picture[..., :3].std() > 0.05
