"""Nothing that a record, a file or a server holds can steer the terminal of who looks at it."""

from __future__ import annotations

import json
import logging

import pytest
import typer

from recordgate.cli.ask import error_line, hit_lines
from recordgate.cli.output import emit, fail
from recordgate.cli.printable import PrintableFormatter, json_text, one_line, printable
from stores.errors import InputError

HOSTILE = "a\x1b[31mb\x9b2Jc\u202ed\x07\x00\x7f\r\u2028e"
STEERING = set("\x1b\x9b\u202e\x07\x00\x7f\r\u2028")


@pytest.mark.parametrize("shown", [printable(HOSTILE), one_line(HOSTILE), json_text([HOSTILE])])
def test_what_steers_is_written_out(shown: str) -> None:
    assert not STEERING & set(shown)
    assert "31mb" in shown


def test_json_that_is_shown_is_the_same_value_for_a_program() -> None:
    value = {"k": [HOSTILE, "é ü 日本 👩‍🚀", 1.5, None]}
    assert json.loads(json_text(value)) == value
    assert "日本" in json_text(value)


def test_lines_and_tabs_stay_where_a_text_has_several() -> None:
    assert printable("a\n\tb") == "a\n\tb"
    assert one_line("a\n\tb") == "a  b"
    assert one_line("x" * 10, 5) == "xxxx…"


def test_results_errors_and_the_log_are_shown_so(capsys: pytest.CaptureFixture[str]) -> None:
    emit([HOSTILE], as_json=True, text="")
    emit([HOSTILE], as_json=False, text=HOSTILE)
    assert isinstance(fail(InputError(HOSTILE, hint=HOSTILE), as_json=True), typer.Exit)
    record = logging.LogRecord("n", logging.INFO, "", 1, "%s", (HOSTILE,), None)
    out, err = capsys.readouterr()
    assert not STEERING & set(out + err + PrintableFormatter("%(message)s").format(record))


def test_an_answer_of_any_form_is_shown_as_lines() -> None:
    hit = {"id": "1", "record": {"name": HOSTILE, "empty": None, "tags": [HOSTILE]}}
    answer = {"total": 1, "hits": [hit], "facets": {"k": [{"value": HOSTILE, "count": 2}]}}
    lines = list(hit_lines(answer))
    lines += [error_line(HOSTILE), error_line({"message": HOSTILE, "path": ["a", 0, HOSTILE]})]
    assert not STEERING & set("".join(lines))
    assert all("\n" not in line for line in lines)
    assert list(hit_lines({})) == ["nothing found"]
