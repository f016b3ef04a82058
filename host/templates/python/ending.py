"""How a run ends: a mistake is told with its file and line, and no host call is left without its caller.

componentize-py turns an exception that leaves the check into the text of a Rust panic, and traps when a call is still
under way or a report has a wrong type. So this file stands between the check and componentize-py.
"""

import asyncio
import collections.abc
import dataclasses
import gc
import inspect
import pathlib
import sys
import traceback
import types as python
import typing

import componentize_py_async_support as support
from componentize_py_types import Err, Ok
from wit_world.exports import plugin
from wit_world.imports import deployments, evidence, expectation, git, slack, types, warehouse

HERE = pathlib.Path(__file__).parent
OURS = {"sdk.py", "ending.py"}
# More than anybody reads.
LONGEST = 4000
INTEGERS = {"expected": (0, 2**64), "actual": (0, 2**64), "limit": (0, 2**32), "rows": (0, 2**64)}
STUCK = "it waits for something that never comes"
# Exceptions of tasks that nobody waits for.
forgotten = []


async def report(run, *arguments) -> plugin.Report:
    """The report that `run` gives. Anything else is raised as the failure that the host shows."""
    forgotten.clear()
    try:
        answer = run(*arguments)
        if inspect.isawaitable(answer):
            answer = await answer
        await rest()
        if problem := misfit(answer, plugin.Report, "report"):
            where = f"{place(run.__code__.co_filename)}:{run.__code__.co_firstlineno}"
            raise Err(plugin.Failure_Other(f"run ({where}) returned a wrong report: {problem}"))
        return answer
    except BaseException as error:
        failure = failed(error)
    stop_others()
    raise Err(failure)


async def rest():
    """Waits for the tasks that the check started and did not wait for. An exception of theirs is one of the check."""
    while others := asyncio.all_tasks() - {asyncio.current_task(), *HOST_CALLS}:
        await asyncio.wait(others)
        del others
        gc.collect()
    # A call that was cancelled here still is under way there, and the report may not come before its end.
    if calls := list(HOST_CALLS):
        await asyncio.wait(calls)
    if forgotten:
        raise forgotten[0]


def stop_others():
    """Cancels the other tasks. Host calls cannot be cancelled here: the host does it when it has the failure."""
    for task in asyncio.all_tasks() - {asyncio.current_task(), *HOST_CALLS}:
        task.cancel()
    if calls := list(HOST_CALLS):
        support.spawn(asyncio.wait(calls))


def failed(error: BaseException):
    """What the host is told about an exception."""
    print_exception(error)
    single = first(error)
    if isinstance(single, Err):
        if isinstance(single.value, plugin.Failure) and not misfit(single.value, plugin.Failure, ""):
            return single.value
        if isinstance(single.value, types.Error):
            return plugin.Failure_Call(single.value)
    told = described(single, error)
    for cause in causes(single):
        if isinstance(cause, Err) and isinstance(cause.value, types.Error):
            return plugin.Failure_Call(type(cause.value)(f"{cause.value.value}; then {told}"))
    return plugin.Failure_Other(told)


def first(error: BaseException) -> BaseException:
    """One of a group, a host call's error before others."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    singles = [first(each) for each in error.exceptions]
    return next((each for each in singles if isinstance(each, Err)), singles[0])


def causes(error: BaseException):
    seen = set()
    while error and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if error:
            yield first(error)


def described(error: BaseException, around: BaseException) -> str:
    """`ValueError: no such day (check.py:14, in run)`; the place is that of the group around it if it has none."""
    text = " ".join("".join(traceback.format_exception_only(error)).split())
    if isinstance(error, asyncio.CancelledError):
        text = STUCK if STUCK in error.args else "the check cancelled itself"
    frames = traceback.extract_tb(error.__traceback__ or around.__traceback__)
    here = [frame for frame in frames if pathlib.Path(frame.filename).is_relative_to(HERE)]
    own = [frame for frame in here if place(frame.filename) not in OURS] or here
    where = f" ({place(own[-1].filename)}:{own[-1].lineno}, in {own[-1].name})" if own else ""
    return printable(text[:LONGEST] + where)


def place(file: str) -> str:
    return str(pathlib.Path(file).relative_to(HERE)) if pathlib.Path(file).is_relative_to(HERE) else file


def print_exception(error: BaseException):
    """Into the run's log. A log that is full must not hide the failure."""
    lines = "".join(traceback.format_exception(error, limit=-20))
    print(printable(lines[-LONGEST:]), file=sys.stderr)


def printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def require(given, wanted, what: str):
    """A value that does not fit the contract is the check's mistake, and not a trap."""
    if problem := misfit(given, wanted, what):
        raise TypeError(problem)


def misfit(given, wanted, what: str) -> str | None:
    """Why a value is not of the type that the contract has for it."""
    parts = typing.get_args(wanted)
    kind = typing.get_origin(wanted)
    if kind in (typing.Union, python.UnionType):
        if type(None) in parts and given is None:
            return None
        kinds = [part for part in parts if part is not type(None)]
        if len(kinds) == 1:
            return misfit(given, kinds[0], what)
        chosen = next((part for part in kinds if isinstance(given, part)), None)
        if chosen is None:
            return wrong(given, "one of " + ", ".join(part.__name__ for part in kinds), what)
        return misfit(given, chosen, what)
    if kind in (list, collections.abc.Sequence):
        if not isinstance(given, list):
            return wrong(given, "list", what)
        return first_problem((each, parts[0], f"{what}[{at}]") for at, each in enumerate(given))
    if kind is tuple:
        if not isinstance(given, tuple) or len(given) != len(parts):
            return wrong(given, f"tuple of {len(parts)}", what)
        return first_problem((each, part, f"{what}[{at}]") for at, (each, part) in enumerate(zip(given, parts)))
    if wanted is str:
        if not isinstance(given, str):
            return wrong(given, "str", what)
        fine = printable(given) == given
        return None if fine else f"{what} has a character that is not Unicode text: {ascii(given)[:80]}"
    if wanted is float:
        return None if isinstance(given, (int, float)) else wrong(given, "float", what)
    if wanted is int:
        if not isinstance(given, int):
            return wrong(given, "int", what)
        least, end = INTEGERS.get(what.replace(": ", ".").rpartition(".")[2], (-(2**63), 2**63))
        return None if least <= given < end else f"{what} is {given}, out of range"
    if not isinstance(given, wanted):
        return wrong(given, wanted.__name__, what)
    fields = typing.get_type_hints(wanted) if dataclasses.is_dataclass(wanted) else {}
    return first_problem((getattr(given, name, None), part, f"{what}.{name}") for name, part in fields.items())


def first_problem(parts) -> str | None:
    return next(filter(None, (misfit(*part) for part in parts)), None)


def wrong(given, wanted: str, what: str) -> str:
    return f"{what} is of type {type(given).__name__}, not {wanted}"


# A host call is a task of its own: the check may cancel the wait for it, but the call itself ends only with its answer.
HOST_CALLS: set[asyncio.Task] = set()


def waits_apart(wait):
    async def await_result(begun):
        if isinstance(begun, Ok):
            return begun.value
        call = asyncio.create_task(wait(begun))
        HOST_CALLS.add(call)
        call.add_done_callback(HOST_CALLS.discard)
        return await asyncio.shield(call)

    return await_result


def checks_arguments(module, name):
    call = getattr(module, name)
    hints = {argument: hint for argument, hint in typing.get_type_hints(call).items() if argument != "return"}
    short = module.__name__.rpartition(".")[2]

    def require_all(*arguments, **named):
        bound = inspect.signature(call).bind(*arguments, **named)
        for argument, hint in hints.items():
            require(bound.arguments[argument], hint, f"{short}.{name}: {argument}")

    async def asked(*arguments, **named):
        require_all(*arguments, **named)
        return await call(*arguments, **named)

    def told(*arguments, **named):
        require_all(*arguments, **named)
        return call(*arguments, **named)

    setattr(module, name, asked if inspect.iscoroutinefunction(call) else told)


def poll(state):
    """Runs what can run. `sys.exit` in a task ends the task; a wait that cannot end is cancelled."""
    while state.handles:
        handles, state.handles = state.handles, []
        for handle in handles:
            if not handle.cancelled():
                try:
                    handle._run()
                except (SystemExit, KeyboardInterrupt):
                    # Whoever waits for the task has it.
                    pass
        if loop.exception is not None:
            raise loop.exception
        if not state.handles and not state.futures and state.pending_count > 0:
            for task in asyncio.all_tasks(loop):
                task.cancel(STUCK)


def nobody_waits(context):
    if error := context.get("exception"):
        forgotten.append(error)


def no_timer(*_, **__):
    raise NotImplementedError("a check cannot wait for a time to pass: its clock is the due time and does not move")


loop = asyncio.get_event_loop()
loop.poll = poll
loop.time = loop.call_later = loop.call_at = no_timer
loop.call_exception_handler = nobody_waits
support.await_result = waits_apart(support.await_result)
for module in (warehouse, git, deployments, slack, evidence, expectation):
    own = [name for name, call in vars(module).items() if inspect.isfunction(call) and call.__module__ == module.__name__]
    for name in own:
        checks_arguments(module, name)
