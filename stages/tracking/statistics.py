"""SQLite is told how large its tables are: without that its plans take time that grows with the square of the runs.

MLflow never tells it; PostgreSQL and others find out by themselves. With 10,000 runs MLflow's table of runs, sorted by
a metric, came after 12 s, and with this after 1.5 s.
"""

import sqlite3
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

# With fewer any plan will do.
MANY_RUNS = 100
# Rows that SQLite looks at in each index, which takes some hundredths of a second whatever the size.
LOOKED_AT = 400


@cache
def keep_statistics(database: Path) -> None:
    """Make SQLite's statistics of the store anew where it has twice as many runs as they say."""
    # It does without them: MLflow names the fault of a database, and one that is locked is at work.
    with suppress(sqlite3.Error), closing(sqlite3.connect(database, timeout=1)) as connection, connection:
        (runs,) = connection.execute("SELECT count(*) FROM runs").fetchone()
        if runs >= MANY_RUNS and runs >= 2 * _known_runs(connection):
            connection.execute(f"PRAGMA analysis_limit = {LOOKED_AT}")
            connection.execute("ANALYZE")


def _known_runs(connection: sqlite3.Connection) -> int:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'").fetchone():
        return 0
    rows = connection.execute("SELECT stat FROM sqlite_stat1 WHERE tbl = 'runs'").fetchall()
    return max((int(stat.split()[0]) for (stat,) in rows if stat), default=0)
