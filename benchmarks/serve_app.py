"""A prediction server of one file: `TABTUNE_SERVE=folder uvicorn serve_app:app --workers 2`, with model.student and model.tabtune in the folder.

It is an example, explained at the end of the tutorial "Into production"; FastAPI is no dependency of TabTune.
"""
import os
from pathlib import Path
from threading import Lock

import pandas as pd
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict

from tabtune import Student, TabularPipeline

class Row(BaseModel):
    "One passenger; what is unknown may be null or left out, what is not a field is an error."
    model_config = ConfigDict(extra='forbid')
    pclass: str | None = None
    sex: str | None = None
    age: float | None = None
    sibsp: float | None = None
    parch: float | None = None

folder = Path(os.environ['TABTUNE_SERVE'])
student, pipe, one_at_a_time = Student.load(folder/'model.student'), TabularPipeline.load(folder/'model.tabtune'), Lock()
app = FastAPI()

def answer(model, row: Row) -> dict:
    "Probabilities by class; a row that can't be read is the client's mistake."
    try: proba = model.predict_proba(pd.DataFrame([row.model_dump()]))[0]
    except ValueError as e: raise HTTPException(422, str(e)) from e
    return dict(probabilities=dict(zip(map(str, model.classes_), proba.tolist())))

answer(student, Row()), answer(pipe, Row())  # the first prediction is slow, so it comes before the first request

@app.post('/student')
async def ask_student(row: Row): return answer(student, row)  # quicker than a thread of its own would be

@app.post('/model')
def ask_model(row: Row):
    with one_at_a_time: return answer(pipe, row)
