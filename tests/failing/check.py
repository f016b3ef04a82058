"""A check that fails in as many ways as its authors may make it. The tests know the line of each by `# here: WAY`."""

import asyncio
import json
import sys

from sdk import Canary, at_least, deadline, export, good_dates, null, post, query, setting, show
from componentize_py_types import Err
from wit_world.exports import plugin
from wit_world.imports import evidence, slack, types, warehouse

GOOD = "SELECT COUNT(*) AS n FROM raw.events"
BAD = "SELECT nothing FROM raw.events"


def report(**changes) -> plugin.Report:
    given = dict(verdict=plugin.Verdict_Pass(), summary="all is well", metrics=[], violations=[], unknown=[], gate=None)
    return plugin.Report(**{**given, **changes})


def divided(by):
    return 1 / by  # here: nested


def deeper(depth):
    return deeper(depth + 1) + 1  # here: recursion


async def alert(request):
    await post(slack.Alert(request.channel, slack.Severity.INFO, "From a task", "said", [], []))


async def mistaken():
    await query(GOOD)
    raise ValueError("a task's mistake")  # here: forgotten task


async def leaves():
    await query(GOOD)
    sys.exit(3)  # here: exit in a task


class Wordless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Failing(Canary):
    title = "Failing"
    summary = "Checks that every failure has its reason."
    datasets = ["raw"]

    class Settings:
        way: str = setting("pass", "How to fail.")

    def run(self, request, settings):
        if settings.way == "plain function":
            return report()
        if settings.way == "plain function fails":
            raise ValueError("not even async")  # here: plain function fails
        return self.fail(request, settings.way)

    async def fail(self, request, way):
        match way:
            case "value error":
                raise ValueError("a mistake")  # here: value error
            case "type error":
                return 1 + "x"  # here: type error
            case "wrong arguments":
                return report(no_such=1)  # here: wrong arguments
            case "key error":
                return {}["games"]  # here: key error
            case "nested":
                return divided(0)
            case "library":
                return json.loads("{")  # here: library
            case "recursion":
                return deeper(0)
            case "exit":
                sys.exit(3)  # here: exit
            case "interrupt":
                raise KeyboardInterrupt  # here: interrupt
            case "assert":
                assert way == "right", "the way is wrong"  # here: assert
            case "wordless":
                raise Wordless  # here: wordless
            case "half a character":
                raise ValueError("\ud800")  # here: half a character
            case "long":
                raise ValueError("x" * 100_000)  # here: long
            case "lines":
                raise ValueError("one\ntwo")  # here: lines
            case "group":
                raise ExceptionGroup("several", [ValueError("the first"), KeyError("the second")])  # here: group
            case "returns nothing":
                return None
            case "returns a dict":
                return {"verdict": "pass"}
            case "text for a number":
                return report(metrics=[plugin.Metric("games", "2", None, None, None, None)])
            case "number for a text":
                return report(summary=3)
            case "no verdict":
                return report(verdict="pass")
            case "below zero":
                return report(gate=plugin.Gate(1.0, None, -1, 0, [], []))
            case "half a character in a report":
                return report(summary="\ud800")
            case "own failure":
                raise Err(plugin.Failure_Other("I would rather not"))
            case "wrong failure":
                raise Err(plugin.Failure_Other(3))  # here: wrong failure
            case "failure of a text":
                raise Err("in short")  # here: failure of a text
            case "query":
                await query(BAD)
            case "denied":
                await query("SELECT 1 FROM other.events")
            case "raised from a call":
                try:
                    await query(BAD)
                except Err as error:
                    raise ValueError("cannot go on") from error  # here: raised from a call
            case "mistake after a call":
                try:
                    await query(BAD)
                except Err as error:
                    error.no_such_field  # here: mistake after a call
            case "wrong query":
                await warehouse.query(3, [])  # here: wrong query
            case "wrong parameter":
                await warehouse.query(GOOD, [warehouse.Parameter("n", 3)])  # here: wrong parameter
            case "large parameter":
                await query("SELECT @n AS n", n=2**70)  # here: large parameter
            case "null of a type":
                await query("SELECT COUNT(*) AS n FROM raw.events WHERE id = @id", id=null("integer"), n=1)
                return report()
            case "null of another type":
                await query("SELECT COUNT(*) AS n FROM raw.events WHERE id = @id", id=null("date"))
            case "null of no type":
                null("number")  # here: null of no type
            case "evidence":
                show("twice", await query("SELECT 1 AS id, NULL AS name"), total=2)
                assert deadline() <= request.due and await good_dates(3) == []
                return report()
            case "wrong evidence":
                evidence.add("twice", ["id"], [[3]])  # here: wrong evidence
            case "gather":
                await asyncio.gather(query(GOOD), query(BAD), query(GOOD))
            case "gather all":
                await asyncio.gather(query(BAD), query(BAD))
            case "gather and go on":
                try:
                    await asyncio.gather(query(BAD), query(GOOD), query(BAD))
                except Err:
                    return report()
            case "gather and a mistake":
                await asyncio.gather(query(GOOD), mistaken(), query(GOOD))
            case "task group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(query(GOOD))
                    group.create_task(query(BAD))
            case "cancelled call":
                task = asyncio.create_task(query(GOOD))
                await asyncio.sleep(0)
                task.cancel()
                await query(GOOD)
                return report()
            case "cancels itself":
                asyncio.current_task().cancel()
                await query(GOOD)  # here: cancels itself
            case "never":
                await asyncio.Future()  # here: never
            case "never after a call":
                await query(GOOD)
                await asyncio.Event().wait()  # here: never after a call
            case "sleep":
                await asyncio.sleep(1)  # here: sleep
            case "time out":
                async with asyncio.timeout(1):  # here: time out
                    await query(GOOD)
            case "forgotten task":
                asyncio.create_task(mistaken())
                return report()
            case "task to its end":
                asyncio.create_task(alert(request))
                return report()
            case "exit in a task":
                await asyncio.gather(leaves(), query(GOOD))
            case "memory":
                hoard = []
                while True:
                    hoard.append(bytearray(1 << 20))  # here: memory
            case "spin":
                while True:
                    pass
            case "flood":
                while True:
                    print("x" * 1000)
            case "two calls":
                await asyncio.gather(*(query(GOOD) for _ in range(20)))
                return report()
            case _:
                return report()


Plugin = export(Failing())
