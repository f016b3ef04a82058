"""What a check in Python is written with: a canary is its settings, its query and its thresholds.

For anything else, write `async def run(request, settings)` and ask the host through `query`, `post` and the modules
`wit_world.imports`: several questions at once with `asyncio.gather`.
"""

import dataclasses
import json
import math
import shlex
from dataclasses import dataclass

import ending
from componentize_py_types import Err
from package import NAME, RUNBOOK, VERSION
from wit_world import exports
from wit_world.exports import plugin
from wit_world.imports import evidence, expectation, slack, types, warehouse

Metric = plugin.Metric
Severity = slack.Severity
KINDS = {str: "string", float: "number", int: "integer", bool: "boolean"}


def setting(default, about: str):
    """A field of `Settings`: what it is when host.toml does not say it, and what it means."""
    return dataclasses.field(default=default, metadata={"about": about})


def at_least(name: str, least: float, unit: str | None = None) -> Metric:
    """A column of the row that must be at least so much."""
    return Metric(name, None, float(least), None, None, unit)


def at_most(name: str, most: float, unit: str | None = None) -> Metric:
    """A column of the row that must be at most so much."""
    return Metric(name, None, None, float(most), None, unit)


@dataclass
class Null:
    """A parameter without a value."""

    kind: warehouse.Scalar


def null(kind: str) -> Null:
    """NULL of a type, as a parameter: `day=null("date")`. Types: boolean, integer, float, text, date, timestamp."""
    kinds = {scalar.name.lower(): scalar for scalar in warehouse.Scalar}
    if kind not in kinds:
        raise ValueError(f"{kind!r} is not one of {', '.join(kinds)}")
    return Null(kinds[kind])


async def query(sql: str, **parameters) -> list[dict]:
    """The rows of one SELECT, by column; `date="2026-02-05"` is `@date`. A failure ends the run: it is no answer."""
    given = {name: value(found) for name, found in parameters.items()}
    if any(isinstance(found, Null) for found in parameters.values()):
        typed = [warehouse.TypedParameter(name, kind(parameters[name], found), found) for name, found in given.items()]
        rows = await warehouse.query_typed(sql, typed)
    else:
        rows = await warehouse.query(sql, [warehouse.Parameter(name, found) for name, found in given.items()])
    names = [column.name for column in rows.columns]
    return [dict(zip(names, (getattr(cell, "value", None) for cell in row))) for row in rows.values]


async def post(alert: slack.Alert):
    """Hands an alert to the host, which decides when it is told."""
    return await slack.post(alert)


def show(metric: str, rows: list[dict], total: int | None = None):
    """Shows rows, as `query` gives them, as evidence of a metric; `total` is how many there are if these are the first."""
    if rows:
        cells = [[value(found) for found in row.values()] for row in rows]
        evidence.add(metric, list(rows[0]), cells)
    if total is not None:
        evidence.total(metric, total)


def deadline() -> int:
    """By when the data of the data date is expected, in seconds since 1970: measure ages of a date's data against it."""
    return expectation.deadline()


async def good_dates(limit: int) -> list[str]:
    """The newest dates before the data date that this check judged good, newest first."""
    return await expectation.good_dates(limit)


def value(given):
    """A parameter: a text that is a date is a DATE."""
    match given:
        case None | Null():
            return types.Value_Null()
        case bool():
            return types.Value_Boolean(given)
        case int():
            return types.Value_Integer(given)
        case float():
            return types.Value_Float(given)
        case str() if len(given) == 10 and given[4] == given[7] == "-" and given.replace("-", "").isdigit():
            return types.Value_Date(given)
        case _:
            return types.Value_Text(str(given))


def kind(given, found) -> warehouse.Scalar:
    """The type of a parameter; a None without one is a text."""
    match given:
        case Null():
            return given.kind
        case None:
            return warehouse.Scalar.TEXT
        case _:
            return warehouse.Scalar[type(found).__name__.removeprefix("Value_").upper()]


class Canary:
    """A check that is one query for one row, and a threshold for each column of it."""

    title: str
    summary: str
    datasets: list[str] = []
    group = "canaries"
    cron = "*/30 * * * *"
    timezone: str | None = None
    channel = "#canary-alerts"

    class Settings:
        pass

    def query(self, settings) -> str:
        raise NotImplementedError

    def thresholds(self, settings) -> list[Metric]:
        raise NotImplementedError

    async def run(self, request: plugin.Request, settings) -> plugin.Report:
        sql = self.query(settings)
        rows = await query(sql, date=request.data_date)
        if len(rows) != 1:
            raise Err(plugin.Failure_Other(f"the query gave {len(rows)} rows, where one was expected"))
        metrics = [dataclasses.replace(metric, value=number(cell(rows[0], metric.name))) for metric in self.thresholds(settings)]
        violations = [violation for violation in map(broken, metrics) if violation]
        unknown = []
        if violations:
            line = " ".join(sql.split())
            by_hand = f"bq query --use_legacy_sql=false --parameter=date:DATE:{request.data_date} {shlex.quote(line)}"
            sections = [
                slack.Section("Violations", [violation.message for violation in violations], [], None),
                slack.Section("Metrics", [], [slack.Field(metric.name, found(metric)) for metric in metrics], None),
            ]
            steps = [slack.Step("Run the query yourself", by_hand)]
            alert = slack.Alert(request.channel, Severity.CRITICAL, self.title, self.summary, sections, steps)
            try:
                await post(alert)
            except Err as error:
                unknown.append(f"nobody was told: {error.value.value}")
        verdict = plugin.Verdict_Fail() if violations else plugin.Verdict_Pass()
        texts = [violation.message for violation in violations] or [f"{metric.name} {found(metric)}" for metric in metrics]
        return plugin.Report(verdict, ("; " if violations else ", ").join(texts), metrics, violations, unknown, None)


def cell(row: dict, column: str):
    """The value of a column; none when there is no such column. As in SQL, upper and lower case are the same."""
    names = [name for name in row if name.lower() == column.lower()]
    return row.get(column, row[names[0]] if names else None)


def number(given) -> float | None:
    """A number; True is 1 and False is 0. None when it is NULL, or neither."""
    return float(given) if isinstance(given, (int, float)) and math.isfinite(given) else None


def shown(amount: float, unit: str | None) -> str:
    """At most two decimals unless that would hide the difference to a limit; no trailing zeros."""
    rounded = round(amount, 2)
    amount = rounded if abs(rounded - amount) < 1e-9 or abs(amount) >= 1000 else round(amount, 4)
    text = str(int(amount)) if amount == int(amount) else str(amount)
    return f"{text} {unit}" if unit else text


def compared(metric: Metric, sign: str, limit: float) -> str:
    """A number and the limit that it breaks, with all digits if they would look the same rounded."""
    value, other = shown(metric.value, metric.unit), shown(limit, metric.unit)
    if value == other and metric.value != limit:
        unit = f" {metric.unit}" if metric.unit else ""
        value, other = f"{metric.value!r}{unit}", f"{limit!r}{unit}"
    return f"{value} {sign} {other}"


def found(metric: Metric) -> str:
    return "has no value" if metric.value is None else shown(metric.value, metric.unit)


def broken(metric: Metric) -> plugin.Violation | None:
    """Why a metric does not pass. A missing value breaks every threshold."""
    limits = [("at least", metric.min), ("at most", metric.max), ("below", metric.below)]
    asked = ", ".join(f"{words} {shown(limit, metric.unit)}" for words, limit in limits if limit is not None)
    amount = metric.value
    if not asked:
        return None
    if amount is None:
        complaint = f"has no value (required: {asked})"
    elif metric.min is not None and amount < metric.min:
        complaint = f"is below its minimum: {compared(metric, '<', metric.min)}"
    elif metric.max is not None and amount > metric.max:
        complaint = f"is above its maximum: {compared(metric, '>', metric.max)}"
    elif metric.below is not None and amount >= metric.below:
        complaint = f"is not below its limit: {compared(metric, '≥', metric.below)}"
    else:
        return None
    return plugin.Violation(metric.name, f"{metric.name} {complaint}")


def schema(settings) -> str:
    """The JSON Schema of the settings, with every default."""
    properties = {
        field.name: {"type": KINDS[field.type], "default": field.default, "description": field.metadata["about"]}
        for field in dataclasses.fields(settings)
    }
    return json.dumps({"type": "object", "properties": properties, "additionalProperties": False})


def export(check):
    """Makes a check the plugin that this component is: `Plugin = export(MyCheck())`."""
    settings = dataclass(type(check).Settings)
    about = schema(settings)

    class Plugin(exports.Plugin):
        def describe(self) -> plugin.Descriptor:
            needs = [plugin.Need_Dataset(dataset) for dataset in check.datasets] + [plugin.Need_Channel(check.channel)]
            schedule = plugin.Schedule(check.cron, check.timezone)
            descriptor = plugin.Descriptor(
                NAME, VERSION, check.summary, check.group, schedule, check.channel, needs, about, RUNBOOK
            )
            ending.require(descriptor, plugin.Descriptor, "the descriptor")
            return descriptor

        async def run(self, request: plugin.Request) -> plugin.Report:
            try:
                given = settings(**json.loads(request.settings))
            except TypeError as error:
                raise Err(plugin.Failure_Settings(str(error)))
            return await ending.report(check.run, request, given)

    return Plugin
