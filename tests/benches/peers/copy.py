"""Copies the sample pipeline's SQLite files into one DuckDB file, a schema for each: copy.py WAREHOUSE FILE."""

import pathlib
import sqlite3
import sys

import duckdb

TYPES = {"TEXT": "VARCHAR", "DATE": "DATE", "TIMESTAMP": "TIMESTAMP", "INT64": "BIGINT", "FLOAT64": "DOUBLE", "BOOL": "BOOLEAN"}

warehouse, file = sys.argv[1:]
target = duckdb.connect(file)
target.begin()
for source in sorted(pathlib.Path(warehouse).glob("*.db")):
    schema = source.stem
    target.execute(f"CREATE SCHEMA {schema}")
    with sqlite3.connect(source) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            columns = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
            named = ", ".join(f'"{name}" {TYPES[kind]}' for _, name, kind, *_ in columns)
            target.execute(f'CREATE TABLE {schema}."{table}" ({named})')
            rows = connection.execute(f'SELECT * FROM "{table}"').fetchall()
            if rows:
                places = ", ".join("?" for _ in columns)
                target.executemany(f'INSERT INTO {schema}."{table}" VALUES ({places})', rows)
target.commit()
